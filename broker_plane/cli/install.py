"""The commands install and uninstall: the plane and its proxy in the configuration of MCP clients."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Annotated, cast

import typer

from broker_plane.cli.clients.edits import Change, ClientFile
from broker_plane.cli.clients.entries import entry_for
from broker_plane.cli.clients.launcher import launcher_of
from broker_plane.cli.clients.records import Records
from broker_plane.cli.clients.registry import ClientProgram, Scope, client_named
from broker_plane.cli.clients.server_names import PLANE, name_of
from broker_plane.cli.console import Json, err, note, out, run, say_json
from broker_plane.cli.proxy_options import (
    Consumers,
    HeaderEnv,
    ReadingTools,
    Shapes,
    Threshold,
    check_upstream,
    proxy_words,
)
from broker_plane.config import load_settings
from broker_plane.errors import ConfigError

_CLIENTS = "claude-desktop, claude-code, cursor, vscode or codex."
_MEANING: dict[Scope, str] = {
    "project": "others share the file, so entries name no path of this machine. For your own file, use --scope user",
    "user": "entries may name paths of this machine. For a file that others share, use --scope project",
}
_ClientName = Annotated[str, typer.Argument(help=_CLIENTS)]
_ScopeName = Annotated[str, typer.Option("--scope", help="user or project. Default: project, for codex user.")]
_Config = Annotated[Path | None, typer.Option(help="Configuration file. Default: that of the client and scope.")]
_Name = Annotated[str, typer.Option(help="Name of the server in the client.")]
_DryRun = Annotated[bool, typer.Option("--dry-run", help="Print the change without writing it.")]


def install(
    client: _ClientName,
    upstream: Annotated[
        list[str] | None, typer.Argument(help="After --: command or URL of a server to run behind the proxy.")
    ] = None,
    name: Annotated[
        str, typer.Option(help="Name of the server in the client. Default: that of the command, or broker-plane.")
    ] = "",
    wrap: Annotated[str, typer.Option(help="Put this configured server behind the proxy.")] = "",
    unwrap: Annotated[str, typer.Option(help="Take the proxy away from this configured server.")] = "",
    threshold: Threshold = "",
    consumer: Consumers = None,
    shape: Shapes = None,
    reading_tools: ReadingTools = True,
    header_env: HeaderEnv = None,
    scope: _ScopeName = "",
    config: _Config = None,
    dry_run: _DryRun = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Add the plane to an MCP client's configuration. A copy of the old file is kept (.bak).

    Without a server, it adds the plane's own tools (`broker-plane mcp`). In a project's file,
    which others share, the entry names no path of this machine.

    Everything else in the file keeps its text; only a JSON file of one line is written anew on several. In an entry
    that changes, so do the members that do not. A changed list loses its comments and, in TOML, its line breaks.

    \b
    Examples:
      broker-plane install claude-desktop
      broker-plane install vscode --scope project -- uvx some-server
      broker-plane install cursor --consumer draw_chart:rows -- node charts.js
      broker-plane install codex --wrap files
    """

    async def work() -> None:
        options = proxy_words(threshold, consumer or (), shape or (), reading_tools, header_env or ())
        if sum(map(bool, (wrap, unwrap, upstream))) > 1:
            raise ConfigError("Use one of --wrap, --unwrap and a server after --")
        if options and not (wrap or upstream):
            raise ConfigError(f"{options[0]} is an option of the proxy: it needs --wrap or a server after --")
        check_upstream(upstream or (), header_env or ())
        known, file, chosen = _file(client, scope, config, dry_run)
        if unwrap:
            _say(file.unwrap(unwrap), dry_run, json)
            return
        launcher = launcher_of(portable=chosen == "project")
        if wrap:
            change = file.wrap(wrap, launcher, options)
        else:
            entry = entry_for(known, launcher, upstream or (), options)
            change = file.install(name or (name_of(upstream) if upstream else PLANE), entry)
        _say(change, dry_run, json)
        if shutil.which(launcher.command) is None:
            err.print(f"{launcher.command} is not on PATH here; the client has to find it there")

    run(work)


def uninstall(
    client: _ClientName,
    name: _Name = "broker-plane",
    scope: _ScopeName = "",
    config: _Config = None,
    dry_run: _DryRun = False,
    json: Annotated[bool, Json] = False,
) -> None:
    """Remove what install added to an MCP client's configuration, and restore what --wrap put behind the proxy.

    Example: broker-plane uninstall vscode --name files
    """

    async def work() -> None:
        _, file, _ = _file(client, scope, config, dry_run)
        _say(file.uninstall(name), dry_run, json)

    run(work)


def _file(client: str, scope: str, config: Path | None, dry_run: bool) -> tuple[ClientProgram, ClientFile, Scope]:
    known = client_named(client)
    if scope not in ("", "user", "project"):
        raise ConfigError(f"--scope is user or project, not {scope!r}")
    path, chosen = known.path(cast("Scope", scope) if scope else None)
    if config is not None and not scope and len(known.paths) > 1:
        note(f"Assumed --scope {chosen}: {_MEANING[chosen]}")
    records = Records(load_settings().data_dir)
    return known, ClientFile(known, config or path, records, dry_run=dry_run), chosen


def _say(change: Change, dry_run: bool, json: bool) -> None:
    if json:
        say_json(
            {
                "file": str(change.path),
                "server": change.name,
                "entry": change.entry,
                "written": change.made and not dry_run,
            }
        )
    elif not change.made:
        out.print(f"{change.name} in {change.path} is already behind the proxy; nothing was written")
    elif dry_run:
        out.print(change.text)
        err.print(f"Not written (dry run): {change.path}")
    else:
        done = "Removed" if change.entry is None else "Wrote"
        out.print(f"{done} {change.name} in {change.path}. Restart the client.")
