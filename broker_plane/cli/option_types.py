"""Options whose values have units: `--max-bytes 10MB`, `--ttl 10m`, `--uses unlimited`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from broker_plane.units import UNLIMITED, or_unlimited, parse_size, parse_time, parse_uses, parse_whole_time

MAX_USES = 65_535


def size(help_text: str, *names: str, least: int = 0) -> Any:
    """An option in bytes."""
    return _option(parse_size, "SIZE", help_text, names, least)


def size_or_unlimited(help_text: str, *names: str) -> Any:
    """An option in bytes that may be `unlimited`."""
    return _option(or_unlimited(parse_size), "SIZE", help_text, names, 1, instead="; for no limit, write unlimited")


def whole_time(help_text: str, *names: str, least: int = 1) -> Any:
    """An option in whole seconds."""
    return _option(parse_whole_time, "TIME", help_text, names, least)


def time(help_text: str, *names: str, least: int = 1) -> Any:
    """An option in seconds."""
    return _option(parse_time, "TIME", help_text, names, least)


def uses(help_text: str) -> Any:
    """An option for the uses of a grant: a number, or the word `unlimited`."""

    def parsed(value: Any) -> Any:
        try:
            number = parse_uses(str(value))
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if isinstance(number, int) and not 1 <= number <= MAX_USES:
            raise typer.BadParameter(f"{value} is not between 1 and {MAX_USES:,}; for no limit, write unlimited")
        return number

    return typer.Option("--uses", help=help_text, metavar="N|unlimited", parser=parsed)


def _option(
    parse: Callable[[str], float], metavar: str, help_text: str, names: tuple[str, ...], least: int, instead: str = ""
) -> Any:
    def parsed(value: Any) -> Any:
        if not isinstance(value, str):
            return value
        try:
            number = parse(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None
        if not number >= least:
            raise typer.BadParameter(f"{value} is too small; the minimum is {least}{instead}")
        if number > UNLIMITED:
            raise typer.BadParameter(f"{value} is too large")
        return number

    return typer.Option(*names, help=help_text, metavar=metavar, parser=parsed)
