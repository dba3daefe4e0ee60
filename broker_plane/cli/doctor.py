"""The commands doctor and keys."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import anyio.to_thread
import typer

from broker_plane import __version__
from broker_plane.broker.urls import hosts_of
from broker_plane.cli.console import Json, out, run, say_json
from broker_plane.config import Settings, load_settings
from broker_plane.embedded.broker import find
from broker_plane.errors import BrokerPlaneError
from broker_plane.runtime.checks import CHECKS, check_bridge, check_nats, is_problem
from broker_plane.runtime.plane import Plane
from broker_plane.storage.replication import Replication
from broker_plane.transfer.plugins import report
from broker_plane.wire.plane_names import DEFAULT_PREFIX

_NAMED = 5
"""Damaged tasks that are named in a line."""

keys = typer.Typer(help="Manage the keys that seal grants.", no_args_is_help=True)


def doctor(json: Annotated[bool, Json] = False) -> None:
    """Check whether NATS and the bridge answer, how durable the storage is, and what is wrong.

    Example: broker-plane doctor --json
    """

    async def work() -> int:
        settings = load_settings()
        running = None if settings.nats_url else await anyio.to_thread.run_sync(find, settings.data_dir)
        lines: dict[str, Any] = {
            "version": __version__,
            "broker": _broker(settings, running=running is not None),
            "data_dir": str(settings.data_dir),
            "role": settings.role,
        }
        if settings.prefix != DEFAULT_PREFIX:
            lines["prefix"] = settings.prefix
        if settings.asyncmcp_clients:
            lines["asyncmcp"] = (
                "fronts serve its clients: callbacks on this machine, without proof (BROKER_PLANE_ASYNCMCP_CLIENTS)"
            )
        if handlers := await anyio.to_thread.run_sync(report, settings.handler_plugins):
            lines["handlers"] = handlers
        starts_later = not settings.nats_url and running is None and settings.role == "plane"
        lines |= await check_bridge(settings) if starts_later else await _checked(settings)
        sandboxes = await anyio.to_thread.run_sync(_sandboxes)
        lines["sandbox"] = sandboxes if json else _sandbox_line(**sandboxes)
        failed = [lines[name] for name in CHECKS if is_problem(lines.get(name))]
        problem = "; ".join(filter(None, [lines.get("problem"), *failed])) or None
        # People and pipes have a line for each check.
        _say_lines(lines | ({"problem": problem} if json else {}), json)
        return 1 if problem else 0

    run(work)


def _broker(settings: Settings, *, running: bool) -> str:
    if settings.nats_url:
        return hosts_of(settings.nats_url)
    if settings.role != "plane":
        return "none (BROKER_PLANE_NATS_URL is not set)"
    return "embedded, running" if running else "embedded, starts on first use"


async def _checked(settings: Settings) -> dict[str, Any]:
    """What a process with these settings can connect to, and what is found out over these connections."""
    try:
        async with Plane.connect(settings) as plane:
            return await _reached(plane) | await check_nats(plane) | await check_bridge(settings, plane.bridge_url)
    except BrokerPlaneError as error:
        return {"check_nats": str(error)} | await check_bridge(settings)


async def _reached(plane: Plane) -> dict[str, Any]:
    """What can be found out over a connection of this role."""
    lines: dict[str, Any] = {"bridge": plane.bridge_url, "durability": plane.durability}
    if plane.settings.role != "plane":
        return lines
    why = await plane.health.guest_access_problem()
    ready = await plane.health.ready()
    troubles = [f"{each.code}: {each.detail}" for each in ready.troubles]
    guests = f"grants cannot connect to NATS: {why}" if why else "a grant can connect to NATS and pull"
    if not why:
        only_http = await plane.health.session_access_problem()
        lines["sessions"] = f"over HTTP only: {only_http}" if only_http else "a grant can take part over NATS"
        kept = await plane.health.revocation_problem()
        lines["revocation"] = f"does not end connections to NATS: {kept}" if kept else "ends connections to NATS"
    if damaged := await plane.tasks.damaged():
        ids = ", ".join(each.id for each in damaged[:_NAMED])
        lines["tasks"] = f"{len(damaged)} damaged, which are not run (`broker-plane tasks ls` says why): {ids}"
    lines |= {"stored_bytes": ready.stored_bytes, "guests": guests, "problem": "; ".join(troubles)}
    return lines | _replicated(await plane.health.replication(), plane.settings.replicas)


def _sandboxes() -> dict[str, Any]:
    """The sandboxes that this machine has for generated code, best first, and why it lacks the others."""
    from broker_plane.sandbox.ladder import Ladder  # it tries them out

    report = Ladder().report()
    missing = {name: why for name, why in report.items() if why}
    return {"available": [name for name in report if name not in missing], "missing": missing}


def _sandbox_line(available: Sequence[str], missing: Mapping[str, str]) -> str:
    best = available[0] if available else "none, so generated code does not run"
    also = f" (also: {', '.join(available[1:])})" if available[1:] else ""
    return "; ".join([best + also, *(f"{name}: {why}" for name, why in missing.items())])


def _replicated(found: Replication | None, wanted: int) -> dict[str, Any]:
    """Lines about a cluster; empty for a single server."""
    if found is None:
        return {}
    replicas = f"all {found.streams} streams have at least {wanted}"
    if found.too_few:
        replicas = (
            f"{', '.join(found.too_few)}: fewer than {wanted} (BROKER_PLANE_REPLICAS); "
            f"add replicas with `nats stream edit <name> --replicas {wanted}`"
        )
    return {"cluster": found.cluster, "replicas": replicas, "behind": ", ".join(found.behind) or None}


@keys.command("rotate")
def rotate(json: Annotated[bool, Json] = False) -> None:
    """Seal new grants with a new key. Grants of the previous key still work; older ones stop working.

    Example: broker-plane keys rotate
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            await plane.keys.rotate()
        if json:
            say_json({"rotated": True})
        else:
            out.print("New grants use a new key; grants of the previous key still work.")

    run(work)


def _say_lines(lines: dict[str, Any], json: bool) -> None:
    if json:
        say_json(lines)
        return
    out.lines(lines)
