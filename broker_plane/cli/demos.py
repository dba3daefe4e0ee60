"""The commands demo and bench."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, failing
from broker_plane.errors import NotSupportedYetError
from broker_plane.tools.sdk_version import need_sdk_2

_DEMOS = ("weather", "db", "fanout", "crm", "files", "collab", "levels", "longrun")


def demo(
    context: typer.Context,
    story: Annotated[str, typer.Argument(help="weather, db, fanout, crm, files, collab, levels or longrun.")],
    json: Annotated[bool, Json] = False,
) -> None:
    """Run a demo: alerts to a chart, flights to a server, one body to 64 clients, a CRM feed, files, sessions, levels,
    a task that outlives its processes.

    `broker-plane demo STORY --help` prints the options of one.

    Example: broker-plane demo weather
    """
    with failing():
        if story in ("-h", "--help"):
            typer.echo(context.get_help())
            return
        if story not in _DEMOS:
            raise typer.BadParameter(f"Unknown demo {story}; available: {', '.join(_DEMOS)}")
        arguments = [*context.args, *(["--json"] if json else [])]  # the demo has its own --help
        try:
            raise typer.Exit(_example(f"demos.{story}").main(arguments))
        except ModuleNotFoundError as error:
            raise NotSupportedYetError(f"The demos need {error.name}: pip install 'broker-plane[demos]'") from error


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="Finish in under a minute.")] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Benchmark this machine: end-to-end calls, fetches and projections.

    `python -m tests.bench` in a checkout compares with other systems.

    Example: broker-plane bench --quick
    """
    with failing():
        need_sdk_2("broker-plane bench")
        from broker_plane.testing.bench import run_ours  # only this needs the packages of the demos

        raise typer.Exit(run_ours(quick=quick, json=json))


def _example(name: str) -> Any:
    """A module of servers/ or demos/: top-level in a checkout, in `broker_plane_examples` in an installed wheel."""
    for package in ("broker_plane_examples.", ""):
        try:
            return importlib.import_module(package + name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if not (package + name).startswith(missing):
                raise NotSupportedYetError(f"The demos need {missing}: pip install 'broker-plane[demos]'") from error
    raise NotSupportedYetError("The demos are not installed; run this from a checkout or an installed wheel")
