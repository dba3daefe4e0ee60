"""email: keeps a mailing list in step with a feed of any other server, and mails each member about changes.

EMAIL_SMTP=127.0.0.1:25 python -m servers.email

Each notice takes three steps, and a crash may interrupt any of them: the changes are pulled with the grant; each mail
is sent within `message.once` of its member, with a Message-ID of feed, key and version; then members and version are
stored in one transaction, and the notice is acknowledged. A crash repeats at most the mail that was being sent.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from broker_plane import Changes, FeedMessage, PlaneServer, RetrySchedule
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError

from .mailing_list import COLUMNS, Followed, MailingList, database
from .post import mail, send

TRIES = RetrySchedule(delays=(0.5, 1.0, 5.0, 30.0, 120.0, 600.0))
ACK_SECONDS = 1.5
"""Seconds after which a message that a killed process was handling is redelivered."""
_AWAY_SECONDS = 1.0


class Following:
    """The task that follows the feed."""

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
                try:
                    plane = await server.plane()
                    options: dict[str, Any] = {"retries": TRIES, "ack_seconds": ACK_SECONDS, "grant": followed.grant}
                    handle = subscriber(Members(members, followed), send_mail)
                    await plane.on_notice(followed.feed, handle, durable=followed.durable, **options)
                except BrokerUnavailableError:
                    await asyncio.sleep(_AWAY_SECONDS)
                except BrokerPlaneError as error:
                    self.problem = str(error)
                    return


following = Following()


@asynccontextmanager
async def resumed(_: MCPServer[Any]) -> AsyncIterator[None]:
    """Resume following the feed that the last process followed."""
    await following.start()
    try:
        yield
    finally:
        await following.stop()


server = PlaneServer("email", lifespan=resumed)


class Members:
    """The rows of the list, by the feed's column names, and the version of the feed that they belong to."""

    def __init__(self, members: MailingList, followed: Followed) -> None:
        self._list = members
        self._followed = followed

    @property
    def version(self) -> int:
        return self._list.version

    def rows(self, key: Sequence[str]) -> list[dict[str, Any]]:
        """Return the rows of all members; `key` is the feed's, which must be one column."""
        if len(key) != 1:
            raise ValueError("A mailing list follows feeds whose key is one column")
        return [{key[0]: value, **self._followed.theirs(row)} for value, row in self._list.members().items()]

    def before(self, key: Any) -> dict[str, Any] | None:
        """Return the member with this key; None if there is none yet."""
        return self._list.member(key)

    def after(self, change: str, key: Any, row: Mapping[str, Any]) -> dict[str, Any] | None:
        """Return the member with this key after `row` was added, changed or removed; None if it was removed."""
        if change == "removed":
            return None
        before = self._list.member(key)
        return self._followed.ours({**(self._followed.theirs(before) if before else {}), **row})

    def apply(self, changes: Changes, version: int) -> None:
        """Write the members and their `version` in one transaction."""
        name = changes.key[0]
        self._list.note_columns(sorted({column for row in changes.added + changes.changed for column in row}))
        after = {row[name]: self.after("added", row[name], row) for row in changes.added + changes.changed}
        self._list.apply({**after, **{row[name]: None for row in changes.removed}}, version)


SendMail = Callable[[Members, str, Any, Mapping[str, Any], str], Awaitable[str]]


def subscriber(members: Members, send_mail: SendMail) -> Callable[[FeedMessage], Awaitable[None]]:
    """The subscriber of docs/feeds.md: each change is mailed once, and `members` follow the notice's version."""

    async def keep_in_step(message: FeedMessage) -> None:
        changes = await message.changes(members.version, had=members.rows(message.key))
        events = [("added", row) for row in changes.added]  # complete rows
        events += [("changed", row) for row in changes.changed]  # the key, and the columns that changed
        events += [("removed", row) for row in changes.removed]  # the key
        for change, row in events:
            key = row[changes.key[0]]
            async with message.once(f"{key}") as effect:
                if effect.fresh:
                    identity = f"<{message.feed}.{key}.{message.version}@lists.example>"
                    effect.value = await send_mail(members, change, key, row, identity)
        members.apply(changes, message.version)  # rows and version, in one transaction

    return keep_in_step


async def send_mail(members: Members, change: str, key: Any, row: Mapping[str, Any], identity: str) -> str:
    """Mail the member with this key about a change; changes of columns outside the list are not mailed."""
    before, after = members.before(key), members.after(change, key, row)
    if before == after:
        return "nobody"
    try:
        message = mail(before, after, identity)
    except ValueError as error:
        return f"refused: {error}"
    return await send(message) if message else "nobody"


@server.mcp.tool()
async def follow(feed: str, resource_url: str, column_mapping: dict[str, str] | None = None) -> dict[str, Any]:
    """Keep the mailing list in step with `feed` from now on, through the grant in `resource_url`.

    The list has the columns address, first_name and last_name; `column_mapping` renames the feed's to these, such as
    {"email": "address"}. Every member gets a mail when it is added, changed or removed.
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
    """Return what the list follows, its version, its members and the last problem."""
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
