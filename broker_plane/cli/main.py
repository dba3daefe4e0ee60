"""`broker-plane`: the command line.

Exit codes: 0 done, 1 an error (one sentence on standard error), 2 wrong usage, 3 the port is taken, 130 Ctrl-C.
"""

from __future__ import annotations

import importlib
import sys
from io import TextIOWrapper
from typing import Annotated, cast

import typer

from broker_plane import __version__
from broker_plane.cli.help import HelpGroup
from broker_plane.cli.ids import IdCommand
from broker_plane.cli.say import say_error, start_json
from broker_plane.cli.told import explained

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
    "documentation": ("docs",),
}
_HANDED_ON: dict[str, dict[str, bool]] = {
    "proxy": {"allow_interspersed_args": False},
    "demo": {"allow_extra_args": True, "ignore_unknown_options": True},
}
"""Commands that hand arguments on."""

_WITH_IDS = ("delete", "grant", "revoke", "audit")
_ANY_WIDTH = 1 << 16
_CLICK_ERROR = cast("type[Exception]", typer.BadParameter.__mro__[2])
"""click's base of usage errors, which typer has as its own since 0.22 and does not export."""

USAGE = 2


def app_of(command: str = "") -> typer.Typer:
    """The application. With the name of a command it has the commands of one module only: a start imports no other."""
    app = typer.Typer(
        name="broker-plane",
        cls=HelpGroup,
        help="Bodies travel between MCP servers over NATS; only the abstract goes through the model.\n\n"
        "With nothing configured, a private broker of this user is started and found again. "
        "BROKER_PLANE_NATS_URL uses an existing NATS.",
        epilog="Exit codes: 0 done; 1 an error, in one sentence on standard error; 2 wrong usage; 3 the port is taken; "
        "130 Ctrl-C.",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _ANY_WIDTH},
    )
    app.callback(invoke_without_command=True)(root)
    rooms = [room for room, names in _ROOMS.items() if command in names] or list(_ROOMS)
    for room in rooms:
        module = importlib.import_module(f"broker_plane.cli.{room}")
        for name in _ROOMS[room]:
            member = getattr(module, name.replace("-", "_"))
            if isinstance(member, typer.Typer):
                app.add_typer(member, name=name, cls=HelpGroup)
            else:
                # A demo has options of its own, which its own help lists.
                kind = IdCommand if name in _WITH_IDS else None
                settings, own_help = _HANDED_ON.get(name), name != "demo"
                app.command(name, cls=kind, context_settings=settings, add_help_option=own_help)(member)
    return app


def root(show_version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False) -> None:
    if show_version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # a name that the terminal cannot show is no reason to fail
            stream.reconfigure(errors="backslashreplace")
    start_json(sys.argv[1:])
    sys.exit(_main())


def _main() -> int:
    try:
        return app_of(*sys.argv[1:2])(prog_name="broker-plane", standalone_mode=False) or 0
    except typer.Abort:
        say_error("stopped", "Stopped")
        return 130
    except _CLICK_ERROR as error:
        wrong = cast("typer.BadParameter", error)
        if not say_error("usage", wrong.format_message(), json_only=True):
            wrong.show()  # with the usage line of its command
        return USAGE
    except Exception as error:  # noqa: BLE001 - no traceback reaches a person
        say_error(*explained(error))
        return 1


if __name__ == "__main__":
    main()
