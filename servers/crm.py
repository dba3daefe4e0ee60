"""crm: contacts and invoices in SQLite, edited by a tool; every edit becomes a version of the feed `crm.contacts`.

python -m servers.crm_data, then python -m servers.crm

An edit and its entry in the outbox are one transaction (crm_store.py). The outbox is published by the tool that made
the edit, by a poll every second, or by the next process after a crash, whichever comes first. Publishing unchanged
contacts is idempotent, so no version is lost and none is duplicated.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError

from broker_plane import PlaneServer
from broker_plane.errors import BrokerPlaneError

from .crm_store import Contacts, EditError, database

FEED = "crm.contacts"
LOOK_SECONDS = 1.0
Row = dict[str, Any]
_publishing = asyncio.Lock()


@asynccontextmanager
async def publishing(_: MCPServer[Any]) -> AsyncIterator[None]:
    """Publish the outbox now, and edits of other programs within a second."""

    async def look() -> None:
        while True:
            with suppress(EditError, BrokerPlaneError):  # no data or no broker yet
                await publish()
            await asyncio.sleep(LOOK_SECONDS)

    task = asyncio.create_task(look())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


server = PlaneServer("crm", lifespan=publishing)
contacts_feed = server.feed(FEED, key="id", description="All contacts, each with what it spent")


async def publish() -> int:
    """Publish the outbox and return the version; 0 if the outbox was empty.

    Raises:
        BrokerPlaneError: it is still in the outbox.
    """
    version = 0
    async with _publishing:
        with Contacts.open(database()) as store:
            while store.unpublished():
                rows, upto = store.snapshot()
                version = (await contacts_feed.publish(rows)).version
                store.published(upto)
    return version


@server.mcp.tool()
async def edit(
    insert: list[Row] | None = None, update: list[Row] | None = None, delete: list[int] | None = None
) -> Row:
    """Edit contacts, all or nothing: new ones, changes (each with its `id`), and ids to delete. Values are text."""
    with _store() as store:
        new = store.edit(insert or [], update or [], delete or [])
    try:
        return {"inserted": new, "version": await publish()}
    except BrokerPlaneError as error:
        # The edit is made and kept; it is published as soon as there is a broker.
        return {"inserted": new, "version": None, "publishes_later": str(error)}


@server.mcp.tool()
async def share(columns: list[str], abstract_domains: str = "id", abstract_limit: int = 5, ttl: int = 86_400) -> Row:
    """Make a grant for the feed of contacts that shows only these columns, also in versions to come, for `ttl` seconds.

    Hand its `resource_url` to a server that follows feeds. The first rows are returned with the columns named in
    `abstract_domains`.
    """
    with _store() as store:
        rows = store.rows()
    names = [name.strip() for name in abstract_domains.split(",") if name.strip()]
    if unknown := [name for name in (*columns, *names) if rows and name not in rows[0]]:
        raise ToolError(f"Contacts have no column {unknown[0]!r}; there are {', '.join(rows[0])}")
    try:
        await publish()
        plane = await server.plane()
        grant = await plane.feeds.grant(FEED, columns=columns, ttl=ttl)
        notice = await plane.feeds.latest(FEED)
    except BrokerPlaneError as error:
        raise ToolError(str(error)) from error
    return {
        "feed": FEED,
        "version": notice.version if notice else 0,
        "total_rows": len(rows),
        "columns": columns,
        "abstract": [{name: row[name] for name in names} for row in rows[:abstract_limit]],
        "resource_url": grant.resource_url,
    }


@server.resource_tool(abstract_limit=100)
def contacts() -> list[Row]:
    """All contacts as they are now, each with what it `spent`."""
    with _store() as store:
        return store.rows()


@server.resource_tool(abstract_limit=100)
def invoices() -> list[Row]:
    """All invoices: id, contact, date, country, total."""
    with _store() as store:
        return store.invoices()


@contextmanager
def _store() -> Iterator[Contacts]:
    """Open the database for one tool call; errors of it or of an edit are reported to the agent."""
    try:
        with Contacts.open(database()) as store:
            yield store
    except EditError as error:
        raise ToolError(str(error)) from error


if __name__ == "__main__":
    server.run()
