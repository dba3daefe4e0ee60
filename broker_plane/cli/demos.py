"""The commands that show what it does: demo, bench."""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer

from broker_plane.cli.console import Json, failing
from broker_plane.errors import NotSupportedYetError

_STORIES = ("weather", "db", "fanout", "crm", "files")
_LATER = ("collab",)


def demo(
    context: typer.Context,
    story: Annotated[str, typer.Argument(help="weather, db, fanout, crm or files.")],
    json: Annotated[bool, Json] = False,
) -> None:
    """Play a story: alerts to a chart, 336,776 flights to a server, one body to 64, a CRM to mailboxes, files."""
    with failing():
        if story in ("-h", "--help"):
            typer.echo(context.get_help())
            return
        if story in _LATER:
            raise NotSupportedYetError(f"The demo {story} is not built yet; there are: {', '.join(_STORIES)}")
        if story not in _STORIES:
            raise typer.BadParameter(f"There is no demo {story}; there are: {', '.join(_STORIES)}")
        arguments = [*context.args, *(["--json"] if json else [])]  # --help is the story's own
        try:
            raise typer.Exit(_example(f"demos.{story}").main(arguments))
        except ModuleNotFoundError as error:
            raise NotSupportedYetError(f"The demos need {error.name}: pip install 'broker-plane[demos]'") from error


def bench(
    quick: Annotated[bool, typer.Option("--quick", help="In under a minute.")] = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Measure this machine: the whole way, fetches and projections. `python -m tests.bench` compares with others."""
    from broker_plane.testing.bench import run_ours  # the demos' packages are only needed here

    with failing():
        raise typer.Exit(run_ours(quick=quick, json=json))


def _example(name: str) -> Any:
    """A module of servers/ or demos/: top-level in a checkout, `broker_plane_examples` in an installed wheel."""
    for package in ("broker_plane_examples.", ""):
        try:
            return importlib.import_module(package + name)
        except ModuleNotFoundError as error:
            missing = error.name or ""
            if not (package + name).startswith(missing):
                raise NotSupportedYetError(f"The demos need {missing}: pip install 'broker-plane[demos]'") from error
    raise NotSupportedYetError("The demos are not installed here; run this from a checkout or an installed wheel")
