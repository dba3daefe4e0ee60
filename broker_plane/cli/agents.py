"""The command agents: announce an agent while the command runs, and find those that are announced."""

from __future__ import annotations

import asyncio
import signal
from typing import Annotated, Any, cast, get_args

import typer

from broker_plane.cli.console import Json, names_in, note, out, run, say_json
from broker_plane.cli.option_types import size, whole_time
from broker_plane.cli.protocol_files import json_file
from broker_plane.registry.agent_search import FoundAgent
from broker_plane.registry.announcement import AgentAnnouncement, AgentProfile, ServedProtocol, parse_profile
from broker_plane.runtime.plane import Plane
from broker_plane.wire.descriptor import Mode

agents = typer.Typer(
    help="Announce agents and find them: what they serve and consume.", no_args_is_help=True, rich_markup_mode=None
)
MODES: tuple[str, ...] = get_args(Mode)
_COLUMNS = ("agent", "name", "protocol", "endpoint", "formats", "modes", "consumes", "instance")
_SHOWN = ("agent", "protocol", "endpoint", "formats", "modes", "consumes")
"""What fits a terminal of 80 columns."""


@agents.command()
def announce(
    file: Annotated[str, typer.Argument(help="JSON file with the announcement; - is standard input.")] = "",
    agent_id: Annotated[str, typer.Option("--id", help="Id of the agent: A-Z, a-z, 0-9, _ and -.")] = "",
    name: Annotated[str, typer.Option(help="Name for people. Default: the id.")] = "",
    serves: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PROTOCOL=ENDPOINT[,FORMAT|MODE…]",
            help="A protocol that it serves, its base URL, media types, and modes (fetch, push, stream); repeatable.",
        ),
    ] = None,
    consumes: Annotated[str, typer.Option(help="Protocols that it consumes (comma-separated).")] = "",
    runtimes: Annotated[
        str, typer.Option(help="It learns protocols (Level 2) with code for these: node, python, shell.")
    ] = "",
    max_payload: Annotated[int | None, size("The most that it takes, such as 10MB. Default: it does not say.")] = None,
    ttl: Annotated[int | None, whole_time("Without a heartbeat it is gone after this time. Default: 30s.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Announce an agent until Ctrl-C, and print the announcement. Options replace what the file says.

    Example: broker-plane agents announce --id crm --serves https=https://crm.example/v1,text/csv --ttl 30s
    """

    async def work() -> None:
        fields = await asyncio.to_thread(_read, file) if file else {}
        capabilities: dict[str, Any] = {"max_payload_bytes": max_payload} if max_payload is not None else {}
        if runtimes:
            capabilities |= {"level2": True, "runtimes": names_in(runtimes)}
        given = {
            "agent_id": agent_id,
            "name": name,
            "serves": [served_of(text) for text in serves or ()],
            "consumes": names_in(consumes),
            "capabilities": capabilities,
            "ttl": ttl,
        }
        profile = parse_profile(fields | {member: value for member, value in given.items() if value})
        await _announce(profile, json=json)

    run(work)


@agents.command()
def search(
    text: Annotated[str, typer.Argument(help="Words of ids, names and protocols. Default: all agents.")] = "",
    protocol: Annotated[str, typer.Option(help="Protocol, such as https or acme/orders@^1.2.")] = "",
    format: Annotated[str, typer.Option(help="Media type, such as text/csv or image/*.")] = "",
    mode: Annotated[str | None, typer.Option(help="fetch, push, stream or collaborate.")] = None,
    direction: Annotated[
        bool | None, typer.Option("--serves/--consumes", help="Only agents that serve, or consume, the protocol.")
    ] = None,
    payload: Annotated[int, size("Leave out agents that take less than this.")] = 0,
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Maximum number of agents.")] = 100,
    json: Annotated[bool, Json] = False,
) -> None:
    """List the agents that are announced, with what they serve. None of them is contacted.

    Example: broker-plane agents search --protocol https --format "text/*"
    """

    async def work() -> None:
        if mode not in (None, *MODES):
            raise typer.BadParameter(f"--mode must be one of {', '.join(MODES)}")
        way = None if direction is None else "serves" if direction else "consumes"
        async with Plane.connect() as plane:
            result = await plane.agents.search(
                text,
                protocol=protocol,
                format=format,
                mode=cast("Mode | None", mode),
                direction=cast("Any", way),
                payload_bytes=payload,
                limit=limit,
            )
        if json:
            found = [each.announcement.to_wire() for each in result.found]
            say_json({"agents": found, "more": result.more, "unreadable": result.unreadable})
            return
        rows = [row for each in result.found for row in _rows(each)]
        if rows:
            shown = _SHOWN if out.to_people else _COLUMNS
            out.table(shown, [[row[name] for name in shown] for row in rows], box=False)
        else:
            note("No agent matches." if text or protocol or format or mode or payload else "No agent is announced.")
        if result.more:
            note(f"There are more than these {len(result.found)}; narrow the search, or raise --limit.")
        if result.unreadable:
            note(f"{result.unreadable} entries are not announcements, and were left out.")

    run(work)


def served_of(text: str) -> ServedProtocol:
    """The value of --serves: `PROTOCOL=ENDPOINT,FORMAT,…`, in which a mode may take the place of a format."""
    protocol, equals, rest = text.partition("=")
    endpoint, *words = names_in(rest) or [""]
    if not (equals and protocol and endpoint):
        raise typer.BadParameter("--serves is PROTOCOL=ENDPOINT, such as https=https://crm.example/v1,text/csv")
    modes = tuple(word for word in words if word in MODES)
    formats = tuple(word for word in words if word not in MODES)
    profile = parse_profile(
        {
            "agent_id": "-",
            "serves": [
                {"protocol_id": protocol, "endpoint": endpoint, "formats": formats, "modes": modes or ("fetch",)}
            ],
        }
    )
    return profile.serves[0]


async def _announce(profile: AgentProfile, *, json: bool) -> None:
    stopped = asyncio.Event()
    async with Plane.connect() as plane, plane.agents.announce(profile) as announcement:
        # The announcement is removed at once when the process is asked to end, and not only after its TTL.
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
        if json:
            say_json(announcement.to_wire())
        else:
            _say(announcement)
        await stopped.wait()


def _say(announcement: AgentAnnouncement) -> None:
    lines: dict[str, object] = {"agent": announcement.agent_id, "name": announcement.name}
    for number, served in enumerate(announcement.serves, 1):
        lines[f"serves {number}"] = _served(served)
    lines |= {"consumes": ", ".join(announcement.consumes), "ttl": f"{announcement.ttl} s"}
    out.lines(lines | {"instance": announcement.instance})
    note("Announced. Ctrl-C ends it.")


def _served(served: ServedProtocol) -> str:
    return "  ".join((served.protocol_id, served.endpoint, ", ".join(served.formats), ", ".join(served.modes)))


def _rows(found: FoundAgent) -> list[dict[str, object]]:
    """A row for each entry that matches, and one for an agent of which only `consumes` does."""
    agent = found.announcement
    consumes = ", ".join(agent.consumes)
    return [
        {
            "agent": agent.agent_id,
            "name": agent.name,
            "protocol": served and served.protocol_id,
            "endpoint": served and served.endpoint,
            "formats": served and ", ".join(served.formats),
            "modes": served and ", ".join(served.modes),
            "consumes": consumes,
            "instance": agent.instance,
        }
        for served in found.serves or (None,)
    ]


def _read(file: str) -> dict[str, Any]:
    fields = json_file(file)
    if not isinstance(fields, dict):
        raise typer.BadParameter(f"{file} is not a JSON object with the members of an announcement")
    return fields
