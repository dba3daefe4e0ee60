"""`broker-plane`: the command line.

Exit codes: 0 success; 1 an error (one sentence on standard error); 2 wrong usage or settings; 3 port in use;
130 interrupted (Ctrl-C).
"""

from __future__ import annotations

import importlib
import sys
from io import TextIOWrapper
from typing import Annotated, Any, cast

import typer

from broker_plane import __version__
from broker_plane.cli.console import say_error, start_json
from broker_plane.cli.error_messages import USAGE, exit_code, explained
from broker_plane.cli.help import HelpGroup
from broker_plane.cli.id_arguments import IdCommand
from broker_plane.cli.process_end import end_with
from broker_plane.cli.renamed import hint_for

_MODULES = {
    "serve": ("up", "down", "bridge"),
    "bodies": ("publish", "pull", "ls", "delete", "watch"),
    "reading": ("read", "describe"),
    "query": ("query",),
    "grants": ("grant",),
    "uploads": ("upload-grant", "upload"),
    "chain": ("chain",),
    "levels": ("levels",),
    "audit": ("revoke", "audit"),
    "config": ("config",),
    "doctor": ("doctor", "keys"),
    "accounts": ("env", "accounts", "owners"),
    "install": ("install", "uninstall"),
    "mcp_clients": ("mcp", "proxy"),
    "serve_mcp": ("serve",),
    "feeds": ("feeds", "dlq"),
    "webhooks": ("webhooks",),
    "mcp_servers": ("servers", "exchanges"),
    "tasks": ("tasks",),
    "sessions": ("session",),
    "protocols": ("protocols",),
    "agents": ("agents",),
    "demos": ("demo", "bench"),
    "documentation": ("docs",),
}
_PASS_ON: dict[str, dict[str, bool]] = {
    "proxy": {"allow_interspersed_args": False},
    "demo": {"allow_extra_args": True, "ignore_unknown_options": True},
}
"""Commands that pass arguments on."""

_WITH_IDS = ("delete", "grant", "revoke", "audit")
_ANY_WIDTH = 1 << 16
_ERRORS = typer.BadParameter.__mro__[1:3]
_USAGE_ERROR, _CLICK_ERROR = cast("tuple[type[typer.BadParameter], type[Exception]]", _ERRORS)
"""click's usage errors, and all its errors. Since 0.22 typer has its own copy of click and does not export these."""


def app_of(command: str = "") -> typer.Typer:
    """The application, or only the module that has `command`: a start then imports no other."""
    app = typer.Typer(
        name="broker-plane",
        cls=HelpGroup,
        help="Move large tool results between MCP servers over NATS: the model sees only an abstract.\n\n"
        "Without configuration, the first command starts a private broker for this user and later ones find it. "
        "Set BROKER_PLANE_NATS_URL to use an existing NATS; `broker-plane config` lists all settings.\n\n"
        "Example: broker-plane pull $(broker-plane publish table.csv)",
        epilog="Exit codes: 0 success; 1 an error, in one sentence on standard error; 2 wrong usage or settings; "
        "3 port in use; 130 interrupted (Ctrl-C).",
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": _ANY_WIDTH},
    )
    app.callback(invoke_without_command=True)(root)
    for module in [module for module, names in _MODULES.items() if command in names] or list(_MODULES):
        members = importlib.import_module(f"broker_plane.cli.{module}")
        for name in _MODULES[module]:
            _add(app, name, getattr(members, name.replace("-", "_")))
    return app


def _add(app: typer.Typer, name: str, member: Any) -> None:
    if isinstance(member, typer.Typer):
        app.add_typer(member, name=name, cls=HelpGroup)
        return
    # A demo has options of its own, which its own help lists.
    kind = IdCommand if name in _WITH_IDS else None
    app.command(name, cls=kind, context_settings=_PASS_ON.get(name), add_help_option=name != "demo")(member)


def root(show_version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False) -> None:
    if show_version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):  # names that the terminal cannot show
            stream.reconfigure(errors="backslashreplace")
    start_json(sys.argv[1:])
    end_with(_main)


def _main() -> int:
    try:
        return app_of(*sys.argv[1:2])(prog_name="broker-plane", standalone_mode=False) or 0
    except (typer.Abort, KeyboardInterrupt):  # Ctrl-C may come before the command has begun
        say_error("stopped", "Stopped")
        return 130
    except _CLICK_ERROR as error:
        wrong = cast("typer.BadParameter", error)
        if hint := hint_for(wrong):
            wrong = _USAGE_ERROR(hint, ctx=wrong.ctx)
        wrong.message = wrong.message.removeprefix("Value error, ")  # pydantic's, which typer keeps
        if not say_error("usage", wrong.format_message(), json_only=True):
            wrong.show()  # with the usage line of its command
        return USAGE
    except Exception as error:  # noqa: BLE001 - people never see a traceback
        say_error(*explained(error))
        return exit_code(error)


if __name__ == "__main__":
    main()
