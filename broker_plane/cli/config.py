"""The command config: every setting with its value and where the value comes from."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, err, out, say_error, say_json
from broker_plane.cli.error_messages import USAGE
from broker_plane.config import Secret, Settings, description, parse_setting
from broker_plane.environment import PREFIX, given, renamed, unknown
from broker_plane.errors import ConfigError
from broker_plane.units import UNLIMITED, format_size, format_time
from broker_plane.wire.urls import redact

DEFAULT, ENVIRONMENT, FLAG = "default", "environment", "flag"
_HIDDEN = "(hidden)"
_USER = re.compile(r"(^|,)(\s*(?:[a-z][a-z0-9+.-]*://)?)[^,]*@", re.IGNORECASE)
"""The user and the password in a URL or a list of them: NATS takes addresses without a scheme, and all before the last
`@` for them."""


@dataclass(frozen=True, slots=True)
class Effective:
    """One setting as commands see it. `problem` says why its value is invalid."""

    name: str
    value: Any
    source: str
    problem: str = ""


def config(
    env_file: Annotated[
        Path | None,
        typer.Option(help="Also read variables from this file; the environment has precedence.", exists=True),
    ] = None,
    nats_url: Annotated[str, typer.Option(help="As `broker-plane up --nats-url`.")] = "",
    data_dir: Annotated[str, typer.Option(help="As `broker-plane up --data-dir`.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Print every setting with its value and source; secrets are hidden. Exits with 2 if some are wrong.

    Example: broker-plane config --env-file .env
    """
    file = {} if env_file is None else read_env_file(env_file)
    flags = {"nats_url": nats_url, "data_dir": data_dir}
    settings = effective_settings(os.environ, file, {name: text for name, text in flags.items() if text})
    problems = [*renamed(os.environ), *renamed(file), *(each.problem for each in settings if each.problem)]
    warnings = [
        f"{variable} is not a setting and is ignored" + (f"; did you mean {nearest}?" if nearest else "")
        for variable, nearest in unknown(Settings.__struct_fields__, {**file, **os.environ}).items()
    ]
    if json:
        say_json({"settings": list(map(_fields, settings)), "problems": problems, "warnings": warnings})
    else:
        out.table(("setting", "value", "source"), [_row(each) for each in settings], box=False)
        for warning in warnings:
            err.print(f"broker-plane: {warning}")
        for problem in problems:
            say_error("bad_config", problem)
    if problems:
        raise typer.Exit(USAGE)


def effective_settings(
    environ: Mapping[str, str], file: Mapping[str, str], flags: Mapping[str, str]
) -> list[Effective]:
    """Every setting in the order of `Settings`. Flags have precedence over the environment, and that over the file."""
    names = Settings.__struct_fields__
    sources = (
        (DEFAULT, _defaults()),
        ("file", given(names, file)),
        (ENVIRONMENT, given(names, environ)),
        (FLAG, flags),
    )
    found = {name: (source, values[name]) for source, values in sources for name in values}
    return [_effective(name, *found[name]) for name in names]


def read_env_file(path: Path) -> dict[str, str]:
    """The variables in a file of `NAME=value` lines, as Docker reads it: no quotes, `#` starts a comment line."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    pairs = [line.partition("=") for line in lines if line and not line.startswith("#")]
    return {name.strip(): value for name, _, value in pairs}


def _defaults() -> dict[str, Any]:
    settings = Settings()
    return {name: getattr(settings, name) for name in Settings.__struct_fields__}


def _effective(name: str, source: str, value: Any) -> Effective:
    if source == DEFAULT:
        return Effective(name, value, source)
    try:
        return Effective(name, parse_setting(name, value), source)
    except ConfigError as error:
        return Effective(name, None, source, str(error))


def _row(setting: Effective) -> tuple[str, str, str]:
    return PREFIX + setting.name.upper(), "(invalid)" if setting.problem else shown(setting), setting.source


def shown(setting: Effective) -> str:
    """The value as people write it."""
    value, unit = setting.value, (description(setting.name).extra or {}).get("unit", "")
    if isinstance(value, bool):
        return str(value).lower()
    if value == UNLIMITED or unit == "bytes":
        return "" if value is None else format_size(value)
    if unit == "days":
        return f"{value:g}d"
    return format_time(value) if unit == "seconds" else str(_public(value))


def _fields(setting: Effective) -> dict[str, Any]:
    value = "unlimited" if setting.value == UNLIMITED else _public(setting.value)
    variable = PREFIX + setting.name.upper()
    fields = {"name": setting.name, "variable": variable, "value": value, "source": setting.source}
    return fields | ({"problem": setting.problem} if setting.problem else {})


def _public(value: Any) -> Any:
    """`value` without secrets."""
    if isinstance(value, Secret):
        return _HIDDEN if value.get_secret_value() else ""
    return redact(_USER.sub(r"\1\2…@", str(value))) if isinstance(value, str | Path) else value
