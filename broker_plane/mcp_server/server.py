"""PlaneServer: an MCP server whose resource tools publish bodies and whose consumer tools pull them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from mcp.server.mcpserver import MCPServer

from broker_plane.config import Settings, load_settings
from broker_plane.errors import ConfigError
from broker_plane.mcp_server import consumer_tool as consuming
from broker_plane.mcp_server import resource_tool as giving
from broker_plane.mcp_server.events import FeedEvents
from broker_plane.mcp_server.feed import Feed, FeedBus, feed_uri
from broker_plane.mcp_server.files import PlaneUploads, UploadPort
from broker_plane.mcp_server.plane_holder import PlaneHold
from broker_plane.mcp_server.resources import body_reader
from broker_plane.mcp_server.transfers import Transfers
from broker_plane.plane.redacted_logs import quiet
from broker_plane.wire.feeds import key_names, parse_feed
from broker_plane.wire.names import RESOURCE_SCHEME

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane

quiet("mcp", "server", "client", "sse_starlette.sse")  # at DEBUG they log messages, and results hold grants

F = TypeVar("F", bound=Callable[..., Any])
Lifespan = Callable[[MCPServer[Any]], AbstractAsyncContextManager[Any]]


class PlaneServer:
    """An MCPServer (`self.mcp`) with two more decorators. `options` go to the MCPServer as they are.

    `uploads` says who takes what clients upload (`files/authorizeUpload`): the plane, an `UploadPort`, or nobody.
    Nothing is connected before the first body: a server whose tools are only listed starts no broker.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings | None = None,
        lifespan: Lifespan | None = None,
        uploads: UploadPort | bool = True,
        log_level: Any = "WARNING",
        **options: Any,
    ) -> None:
        self.settings = settings or load_settings()
        self._hold = PlaneHold(self.settings)
        self._lifespan = lifespan
        self._feeds: dict[str, Feed] = {}
        options.setdefault("subscriptions", FeedBus(self._hold, self._feeds))
        if uploads is True:  # only the user plane may see what is uploaded
            uploads = self.settings.role == "plane" and PlaneUploads(self._hold)
        transfers = Transfers(self._hold, self.settings, uploads or None)
        options["extensions"] = [*options.get("extensions", ()), FeedEvents(self._hold, self._feeds), transfers]
        options["middleware"] = [*options.get("middleware", ()), transfers.advertise]
        self.mcp: MCPServer[Any] = MCPServer(name, lifespan=self._session, log_level=log_level, **options)
        self.mcp.resource(
            f"{RESOURCE_SCHEME}://body/{{grant}}",
            name="body",
            description="A published body, for clients without another way to it; a read counts as a delivery",
        )(body_reader(self._hold, self.settings.inline_limit))

    def resource_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        ttl: int | None = None,
        uses: int | Literal["unlimited"] | None = None,
        abstract_limit: int | Literal["all"] | None = None,
        **options: Any,
    ) -> Callable[[F], F]:
        """Register a function that returns a table (or bytes, or a Path) as a resource tool.

        It gets two more parameters, `abstract_domains` and `mode` (wire.md, section 1). The function may be plain or
        async and return a list of dicts or scalars, an iterator or an async iterator (which is published while it
        runs), bytes or a Path. `ttl` is in seconds, `uses` counts deliveries (or "unlimited"), `abstract_limit` is in
        rows (or "all"); None is the setting. `options` go to `MCPServer.add_tool`.

        Raises:
            ConfigError: `uses` or `abstract_limit` is 0.
        """
        _check_called(name, "resource_tool")
        _check_not_zero(uses, "uses", "unlimited")
        _check_not_zero(abstract_limit, "abstract_limit", "all")
        chosen = giving.ResourceOptions(ttl, uses, abstract_limit)

        def register(function: F) -> F:
            tool = giving.resource_tool(function, self._hold, chosen, self.settings.inline_limit)
            self._add(tool, name, description, giving.TEACHING, options)
            return function

        return register

    def consumer_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        trust: consuming.Trust = "source",
        **options: Any,
    ) -> Callable[[F], F]:
        """Register a function whose first parameter is a body that comes from another server.

        It gets `abstract_data`, `resource_url`, `body_data` and `column_mapping` in place of that parameter, and is
        called with the merged rows (`list[dict]`), or with what its annotation asks for: `AsyncIterator[dict]`, bytes
        or a Path. With `trust="agent"` values that the agent changed in the abstract win over the source's.
        """
        _check_called(name, "consumer_tool")

        def register(function: F) -> F:
            tool = consuming.consumer_tool(function, self._hold, trust)
            self._add(tool, name, description, consuming.TEACHING, options)
            return function

        return register

    def feed(self, name: str, *, key: str | Sequence[str] | None = None, description: str = "") -> Feed:
        """Declare a feed that this server's tools publish: `await feed.publish(rows)`.

        It is the resource `plane://feed/<name>`, whose readers get a grant; clients that listen to it hear of versions
        that any process publishes, and the Events extension (SEP-3415) lists, polls and streams them (docs/feeds.md).

        Raises:
            WireError: the name is none.
        """
        declared = Feed(parse_feed(name), key_names(key), description, self._hold)
        self._feeds[name] = declared
        self.mcp.resource(feed_uri(name), name=name, description=description or f"The newest version of {name}")(
            declared.read
        )
        return declared

    async def plane(self) -> Plane:
        """This process's plane, for tools that publish or pull by themselves."""
        return await self._hold.plane()

    def session(self) -> AbstractAsyncContextManager[None]:
        """A block in which the tools may be called in this process, by `mcp.call_tool`; it closes the plane after it.

        A client's session holds one by itself.
        """
        return self._hold.session()

    def run(self, transport: Any = "stdio", **options: Any) -> None:
        """Serve until the client leaves (stdio) or Ctrl-C (`"streamable-http"`, with `host=` and `port=`)."""
        self.mcp.run(transport, **options)

    def _add(
        self, tool: Callable[..., Any], name: str | None, text: str | None, teaching: str, options: dict[str, Any]
    ) -> None:
        said = (text or tool.__doc__ or "").strip()
        self.mcp.add_tool(tool, name=name, description=f"{said}\n\n{teaching}".strip(), **options)

    @asynccontextmanager
    async def _session(self, server: MCPServer[Any]) -> AsyncIterator[Any]:
        async with self._hold.session():
            if self._lifespan is None:
                yield None
            else:
                async with self._lifespan(server) as state:
                    yield state


def _check_called(name: object, decorator: str) -> None:
    if callable(name):
        raise ConfigError(f"Write @server.{decorator}() with its parentheses: without them nothing is registered")


def _check_not_zero(value: object, name: str, word: str) -> None:
    if value == 0 and value is not False:
        raise ConfigError(f'{name}=0 is ambiguous: write {name}="{word}", or a number')
