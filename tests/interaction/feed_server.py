"""An MCP server of a feed, as a process: `python -m tests.interaction.feed_server`, over stdio."""

from __future__ import annotations

from broker_plane import PlaneServer

FEED = "crm.contacts"


def make_server() -> PlaneServer:
    server = PlaneServer("crm")
    feed = server.feed(FEED, key="id")

    @server.mcp.tool()
    async def rename(name: str) -> int:
        return (await feed.publish([{"id": 1, "name": name}])).version

    return server


if __name__ == "__main__":
    make_server().run()
