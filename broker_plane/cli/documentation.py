"""The command that shows the documentation, which is installed with the package."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer

from broker_plane.cli.console import failing
from broker_plane.errors import ConfigError

_INSTALLED = "broker_plane_examples"


def docs(
    page: Annotated[str, typer.Argument(help="As messages name it (docs/accounts.md); default: list all.")] = "",
) -> None:
    """Print a page of the documentation, or the names of all pages.

    Example: broker-plane docs grants
    """
    with failing():
        folder = _folder()
        pages = {path.relative_to(folder).as_posix(): path for path in sorted(folder.rglob("*.md"))}
        if not page:
            typer.echo("\n".join(pages))
            return
        name = page.partition("#")[0].removeprefix("docs/").removesuffix(".md")
        found = pages.get(f"{name}.md") or pages.get(f"{name}/index.md")
        if found is None:
            raise typer.BadParameter(f"There is no page {page}; `broker-plane docs` lists them")
        typer.echo(found.read_text(encoding="utf-8").rstrip())


def _folder() -> Path:
    """The directory of the pages: in the wheel, or in the checkout of an editable installation."""
    spec = importlib.util.find_spec(_INSTALLED)
    places = [Path(place, "docs") for place in (spec.submodule_search_locations or () if spec else ())]
    checkout = Path(__file__).resolve().parents[2] / "docs"
    for place in (*places, checkout):
        if place.joinpath("glossary.md").is_file():
            return place
    raise ConfigError("The documentation is not installed here; install broker-plane from its wheel")
