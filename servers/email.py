"""email: keeps a mailing list in step with a feed of any other server, and tells each member of it by mail.

EMAIL_SMTP=127.0.0.1:25 python -m servers.email

Each notice is worked off in three steps, of which each may be broken off: the changes are pulled with the grant; each
mail is sent within `notice.once` of its member, with a Message-ID made of feed, key and version; then members and
version are kept in one transaction, and the notice is taken. A crash repeats at most the one mail that was under way.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from broker_plane import PlaneServer
from broker_plane.errors import BrokerAwayError, BrokerPlaneError
from broker_plane.plane.feeds.subscribe import Arrival, Tries

from .mailing_list import COLUMNS, Followed, MailingList, database
from .post import mail, message_id, send

TRIES = Tries(schedule=(0.5, 1.0, 5.0, 30.0, 120.0, 600.0))
ACK_SECONDS = 1.5
"""After which a notice that a killed process had in hand comes to the next one."""
_AWAY_SECONDS = 1.0


class Following:
    """The task that follows, while something is followed."""

    def __init__(self) -> None:
        self.problem = ""
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        await self.stop()
        self.problem = ""
        self._task = asyncio.create_task(self._run())

    async def stop(self) -> None:
        task, self._task = self._task, None
        if task is not None:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task

    async def _run(self) -> None:
        with MailingList.open(database()) as members:
            followed = members.followed()
            while followed is not None:

                async def handle(notice: Arrival) -> None:
                    await keep_in_step(notice, members, followed)

                try:
                    plane = await server.plane()
                    options: dict[str, Any] = {"tries": TRIES, "ack_seconds": ACK_SECONDS, "grant": followed.grant}
                    await plane.on_notice(followed.feed, handle, durable=followed.durable, **options)
                except BrokerAwayError:
                    await asyncio.sleep(_AWAY_SECONDS)
                except BrokerPlaneError as error:
                    self.problem = str(error)
                    return


following = Following()


@asynccontextmanager
async def resumed(_: MCPServer[Any]) -> AsyncIterator[None]:
    """What the list followed when its last process ended, it follows again."""
    await following.start()
    try:
        yield
    finally:
        await following.stop()


server = PlaneServer("email", lifespan=resumed)


async def keep_in_step(notice: Arrival, members: MailingList, followed: Followed) -> None:
    """The list stands at the notice's version, and who is concerned was told, once."""
    changes = await notice.changes(members.version)
    if len(changes.key) != 1:
        raise ValueError("A mailing list follows feeds whose key is one column")
    members.note_columns(sorted({name for row in changes.added + changes.changed for name in row}))
    before = members.members()
    table = {(key,): {changes.key[0]: key, **followed.theirs(row)} for key, row in before.items()}
    changes.apply(table)
    after = {key: followed.ours(row) for (key,), row in table.items()}
    concerned = [key for key in {**before, **after} if before.get(key) != after.get(key)]
    for key in concerned:
        async with notice.once(str(key)) as effect:
            if effect.fresh:
                effect.value = await _told(
                    before.get(key), after.get(key), message_id(notice.feed, key, notice.version)
                )
    members.apply({key: after.get(key) for key in concerned}, notice.version)


async def _told(before: dict[str, Any] | None, after: dict[str, Any] | None, identity: str) -> str:
    try:
        message = mail(before, after, identity)
    except ValueError as error:
        return f"refused: {error}"
    return await send(message) if message else "nobody"


@server.mcp.tool()
async def follow(feed: str, resource_url: str, column_mapping: dict[str, str] | None = None) -> dict[str, Any]:
    """Keep the mailing list in step with `feed` from now on, through the grant in `resource_url`.

    The list has the columns address, first_name and last_name; `column_mapping` renames the feed's to these, such as
    {"email": "address"}. Every member is told by mail: of being added, of each change, of being removed.
    """
    mapping = column_mapping or {}
    if len(set(mapping.values())) < len(mapping) or not set(mapping.values()) <= set(COLUMNS):
        raise ToolError(f"column_mapping gives each of {', '.join(COLUMNS)} to one column at most")
    with MailingList.open(database()) as members:
        old = members.followed()
        if old is not None and (old.feed, dict(old.mapping)) != (feed, mapping):
            raise ToolError(
                f"This list follows {old.feed} with the mapping {dict(old.mapping)}; for another, set EMAIL_DATABASE"
            )
        durable = old.durable if old else f"email_{secrets.token_hex(4)}"  # a new list begins at the newest version
        members.follow(Followed(feed, resource_url, mapping, durable))
    await following.start()
    return {"following": feed, "members": list(COLUMNS)}


@server.mcp.tool()
async def status() -> dict[str, Any]:
    """What the list follows, the version at which it stands, its members and what went wrong."""
    with MailingList.open(database()) as members:
        followed = members.followed()
        return {
            "following": followed.feed if followed else None,
            "version": members.version,
            "members": len(members.members()),
            "columns": members.arrived(),
            "problem": following.problem or None,
        }


if __name__ == "__main__":
    server.run()
