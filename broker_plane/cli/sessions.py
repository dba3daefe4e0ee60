"""The command session: collaborative sessions, in which several agents and people work on one artifact."""

from __future__ import annotations

from typing import Annotated, Any, cast

import typer

from broker_plane.cli.console import Json, names_in, note, out, run, say_json
from broker_plane.cli.option_types import whole_time
from broker_plane.cli.session_options import policy_of
from broker_plane.cli.session_participation import act, follow_entries
from broker_plane.cli.session_texts import say_created, say_history, say_view
from broker_plane.runtime.plane import Plane
from broker_plane.runtime.session_addresses import SessionVia
from broker_plane.runtime.session_requests import SessionIdentity
from broker_plane.runtime.sessions import SYNCS
from broker_plane.sessions.replicas.port import ArtifactKind, Sync

session = typer.Typer(
    help="Work together with agents and people on one text, JSON document or table.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Grant = Annotated[str, typer.Argument(metavar="GRANT", help="Grant of a session, its address, or its descriptor.")]
Name = Annotated[str, typer.Option(help="Your name in the session. Default: that of the grant, or anonymous.")]


@session.command()
def create(
    file: Annotated[str, typer.Argument(help="File or resource_url to begin with. Default: an empty artifact.")] = "",
    kind: Annotated[str | None, typer.Option(help="text, json or table. Default: from the file, or text.")] = None,
    sync: Annotated[str, typer.Option(help="crdt, patch or ot: how edits are merged.")] = SYNCS[0],
    intent: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=PRIORITY", help="Allow this intent; repeatable. Default: the usual ten."),
    ] = None,
    expected: Annotated[
        str, typer.Option(help="Participants (comma-separated). The session closes when all have confirmed.")
    ] = "",
    arbiter: Annotated[
        str, typer.Option(help="Participant who decides conflicts, or owner. Default: any editor.")
    ] = "",
    validator: Annotated[
        list[str] | None,
        typer.Option(help="JSON Schema file, or a name that the bridge knows: checked after each edit; repeatable."),
    ] = None,
    leases: Annotated[
        str, typer.Option(help="advise or block: whether a leased region is closed to others.")
    ] = "advise",
    anonymous: Annotated[bool, typer.Option("--anonymous", help="Show participants by pseudonyms only.")] = False,
    ttl: Annotated[int | None, whole_time("How long the session can be used, such as 2h or 7d. Default: 1d.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Create a session, and print an address for each role: editor, reviewer and observer.

    An address opens in a browser; `session join` takes it as well. In a pipe, only the editor's is printed.

    Example: broker-plane session create plan.md --sync crdt --expected anna,bert
    """

    async def work() -> None:
        if kind not in (None, "text", "json", "table"):
            raise typer.BadParameter("--kind must be text, json or table")
        if sync not in SYNCS:
            raise typer.BadParameter("--sync must be crdt, patch or ot")
        terms = policy_of(intent or [], names_in(expected), arbiter, validator or [], leases, anonymous=anonymous)
        async with Plane.connect() as plane:
            created = await plane.sessions.create(
                source=file or None,
                kind=cast("ArtifactKind | None", kind),
                sync=cast("Sync", sync),
                policy=terms,
                ttl=ttl,
            )
            say_created(created, json=json)

    run(work)


@session.command()
def join(
    grant: Grant,
    name: Name = "",
    via: Annotated[str, typer.Option(help="auto, http (a WebSocket) or nats.")] = "auto",
    intent: Annotated[str, typer.Option(help="Why you take part, such as fix or review.")] = "",
    propose: Annotated[
        str, typer.Option(metavar="FILE", help="Replace the artifact by this file first; - is standard input.")
    ] = "",
    message: Annotated[str, typer.Option(help="With --propose: what the edit does, for the history.")] = "",
    note_text: Annotated[
        str, typer.Option("--note", help="Write a note first, such as 'question: Why?'. Default type: comment.")
    ] = "",
    follow: Annotated[bool, typer.Option(help="Print what happens, until Ctrl-C or the session's end.")] = True,
    json: Annotated[bool, Json] = False,
) -> None:
    """Take part in a session, and print what happens in it, one entry a line.

    Example: broker-plane session join GRANT --name anna --note "question: Why is this sorted twice?"
    """

    async def work() -> None:
        if via not in ("auto", "http", "nats"):
            raise typer.BadParameter("--via must be auto, http or nats")
        async with Plane.connect() as plane:
            joining = plane.sessions.join(grant, name=name, type="human", intent=intent, via=cast("SessionVia", via))
            async with joining as joined:
                await act(joined, propose, message, note_text)
                if follow:
                    await follow_entries(joined, json=json)
                else:
                    say_history(await joined.log(joined.revision - 1), json=json)

    run(work, at=grant)


@session.command()
def show(
    grant: Grant,
    revision: Annotated[int | None, typer.Option(min=1, help="Revision to show. Default: the newest.")] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print the artifact of a session. In a pipe, only the artifact is printed.

    Example: broker-plane session show GRANT --revision 3
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            say_view(await plane.sessions.show(grant, revision), json=json)

    run(work, at=grant)


@session.command()
def log(
    grant: Grant,
    after: Annotated[int, typer.Option(min=0, help="Begin after this revision.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Maximum number of entries.")] = 100,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print the history of a session, oldest first: who did what, with which intent.

    Example: broker-plane session log GRANT --after 20
    """

    async def work() -> None:
        entries: list[Any] = []
        async with Plane.connect() as plane, plane.sessions.requests(grant) as requests:
            while len(entries) < limit:
                last = entries[-1].revision if entries else after
                found = await requests.log(last, min(limit - len(entries), 500))
                entries += found
                if not found:
                    break
        say_history(entries, json=json)

    run(work, at=grant)


@session.command()
def diff(
    grant: Grant,
    start: Annotated[int, typer.Argument(metavar="FROM", min=1, help="Older revision.")],
    end: Annotated[
        int | None, typer.Argument(metavar="[TO]", min=1, help="Newer revision. Default: the newest.")
    ] = None,
    json: Annotated[bool, Json] = False,
) -> None:
    """Print what changed between two revisions, as a unified diff.

    Example: broker-plane session diff GRANT 1 5
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            found = await plane.sessions.diff(grant, start, end)
        if json:
            say_json({"diff": found, "from": start, "to": end})
        elif found:
            out.diff(found)
        else:
            note("The two revisions are equal.")

    run(work, at=grant)


@session.command()
def rollback(
    grant: Grant,
    revision: Annotated[int, typer.Argument(min=1, help="Revision whose artifact comes back.")],
    name: Name = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Set the artifact back to an earlier revision. This is a new revision, so nothing is lost.

    Example: broker-plane session rollback GRANT 3
    """

    async def work() -> None:
        async with Plane.connect() as plane, plane.sessions.requests(grant, who=_person(name)) as requests:
            made = await requests.ask("rollback", to=revision)
        if json:
            say_json(made)
        else:
            out.result(str(made.get("revision")), {"revision": made.get("revision"), "sha256": made.get("sha256")})

    run(work, at=grant)


@session.command()
def undo(
    grant: Grant,
    participant: Annotated[str, typer.Option(help="Undo the edits of this participant (id, from `session log`).")] = "",
    intent: Annotated[str, typer.Option(help="Undo the edits with this intent.")] = "",
    since: Annotated[int, typer.Option(min=0, help="Only edits after this revision.")] = 0,
    name: Name = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Propose to undo the edits of one participant, or of one intent. `session accept` applies the proposal.

    Example: broker-plane session undo GRANT --intent refactor
    """

    async def work() -> None:
        if bool(participant) == bool(intent):
            raise typer.BadParameter("undo needs --participant or --intent, and not both")
        async with Plane.connect() as plane, plane.sessions.requests(grant, who=_person(name)) as requests:
            made = await requests.undo(participant=participant, intent=intent, since=since)
        if json:
            say_json(dict(made))
            return
        out.result(str(made.get("proposal")), {"proposal": made.get("proposal"), "undoes": made.get("revisions")})
        if out.to_people:
            out.diff(str(made.get("diff", "")))

    run(work, at=grant)


@session.command()
def accept(
    grant: Grant,
    proposal: Annotated[str, typer.Argument(help="Id of the proposal, as `session undo` printed it.")],
    name: Name = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Apply a proposal.

    Example: broker-plane session accept GRANT $(broker-plane session undo GRANT --intent refactor)
    """

    async def work() -> None:
        async with Plane.connect() as plane, plane.sessions.requests(grant, who=_person(name)) as requests:
            revision = await requests.accept(proposal)
        if json:
            say_json({"revision": revision})
        else:
            out.result(str(revision), {"revision": revision})

    run(work, at=grant)


@session.command()
def close(
    grant: Annotated[str, typer.Argument(metavar="GRANT", help="A grant or the id of a session that you own.")],
    reason: Annotated[str, typer.Option(help="Why, for the history.")] = "",
    json: Annotated[bool, Json] = False,
) -> None:
    """Close a session that you own. The final artifact becomes a body, whose resource_url is printed.

    Example: broker-plane pull $(broker-plane session close GRANT)
    """

    async def work() -> None:
        async with Plane.connect() as plane:
            made = dict(await plane.sessions.close(grant, reason))
        if json:
            say_json(made)
        else:
            names = ("revision", "sha256", "resource_url")
            out.result(str(made.get("resource_url")), {name: made.get(name) for name in names})

    run(work, at=grant)


def _person(name: str) -> SessionIdentity:
    return SessionIdentity(name, "human")
