"""`broker-plane`: the command line."""

from __future__ import annotations

import importlib
import sys
from typing import Annotated

import typer

from broker_plane import __version__

_ROOMS = {
    "serving": ("up", "down", "bridge"),
    "bodies": ("publish", "pull", "ls", "delete", "watch"),
    "grants": ("grant",),
    "uploads": ("upload-grant", "upload"),
    "chain": ("chain",),
    "audit": ("revoke", "audit"),
    "doctor": ("doctor", "keys"),
    "accounts": ("env", "owners"),
    "proxying": ("install", "mcp", "proxy"),
    "feeds": ("feeds", "dlq"),
    "webhooks": ("webhooks",),
    "stories": ("demo", "bench"),
}
_HANDED_ON: dict[str, dict[str, bool]] = {
    "proxy": {"allow_interspersed_args": False},
    "demo": {"allow_extra_args": True, "ignore_unknown_options": True},
}
"""Commands that hand arguments on."""


def app_of(command: str = "") -> typer.Typer:
    """The application. With the name of a command it has the commands of one module only: a start imports no other."""
    app = typer.Typer(
        name="broker-plane",
        help="Bodies travel between MCP servers over NATS; only the abstract goes through the model.\n\n"
        "With nothing configured, a private broker of this user is started and found again. "
        "BROKER_PLANE_NATS_URL uses an existing NATS.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        add_completion=False,
    )
    app.callback(invoke_without_command=True)(root)
    rooms = [room for room, names in _ROOMS.items() if command in names] or list(_ROOMS)
    for room in rooms:
        module = importlib.import_module(f"broker_plane.cli.{room}")
        for name in _ROOMS[room]:
            member = getattr(module, name.replace("-", "_"))
            if isinstance(member, typer.Typer):
                app.add_typer(member, name=name)
            else:
                app.command(name, context_settings=_HANDED_ON.get(name))(member)
    return app


def root(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    app_of(*sys.argv[1:2])()


if __name__ == "__main__":
    main()
