"""Flags that take a size or a time with its unit: `--bytes 10MB`, `--ttl 10m`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from broker_plane.units import parse_size, parse_time, parse_whole_time


def size(help_text: str, *names: str, least: int = 0) -> Any:
    """An option in bytes."""
    return _option(parse_size, "SIZE", help_text, names, least)


def whole_time(help_text: str, *names: str, least: int = 1) -> Any:
    """An option in whole seconds."""
    return _option(parse_whole_time, "TIME", help_text, names, least)


def time(help_text: str, *names: str, least: int = 1) -> Any:
    """An option in seconds."""
    return _option(parse_time, "TIME", help_text, names, least)


def _option(parse: Callable[[str], float], metavar: str, help_text: str, names: tuple[str, ...], least: int) -> Any:
    def parsed(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            number = parse(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if not number >= least:
            raise typer.BadParameter(f"{value} is too little; the least is {least}")
        if number > _MOST:
            raise typer.BadParameter(f"{value} is too much")
        return number

    return typer.Option(*names, help=help_text, metavar=metavar, parser=parsed)


_MOST = 1 << 60
