"""PlaneServer: an MCP server whose resource tools publish bodies and whose consumer tools pull them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import time
from typing import TYPE_CHECKING, Any

from mcp.server.mcpserver import MCPServer

from broker_plane.config import Settings, load_settings
from broker_plane.logs import text_handler
from broker_plane.mcp_server.capabilities import capabilities_of_call
from broker_plane.mcp_server.descriptor_offers import DescriptorOffers, InlineData
from broker_plane.mcp_server.events import EventsExtension
from broker_plane.mcp_server.feed import Feed, FeedBus, feed_uri
from broker_plane.mcp_server.files import PlaneUploads, UploadPort
from broker_plane.mcp_server.offers import OfferRegistry
from broker_plane.mcp_server.own_server import OwnMCPServer
from broker_plane.mcp_server.reading_tools import mcp_reading_tools
from broker_plane.mcp_server.resources import body_reader
from broker_plane.mcp_server.task_worker import TaskProcess
from broker_plane.mcp_server.tasks import TasksExtension
from broker_plane.mcp_server.tool_decorators import ToolDecorators
from broker_plane.mcp_server.transfers import TransferExtension
from broker_plane.plane.redacted_logs import redact_loggers
from broker_plane.reading.tools import reading_tools as named_reading_tools
from broker_plane.tools.framework_lookup import framework_for
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.wire.feeds import key_names, parse_feed
from broker_plane.wire.names import RESOURCE_SCHEME

if TYPE_CHECKING:
    from broker_plane.runtime.plane import Plane
    from broker_plane.wire.descriptor import Descriptor
    from broker_plane.wire.offers import Way

redact_loggers("mcp", "server", "client", "sse_starlette.sse")  # at DEBUG they log messages, and results contain grants

Lifespan = Callable[[MCPServer[Any]], AbstractAsyncContextManager[Any]]


class PlaneServer(ToolDecorators):
    """An MCPServer (`self.mcp`) with three additional decorators: `resource_tool`, `consumer_tool` and `task_tool`.

    `options` are passed to the MCPServer.

    `uploads` chooses where clients upload to (`files/authorizeUpload`): the plane (True), an `UploadPort`, or nowhere.
    `reading_tools` adds the tools with which an agent reads on in any body (docs/reading.md).
    The plane is connected at the first body: a server whose tools are only listed starts no broker. One with task tools
    connects at its first session, because it may have tasks to go on with.
    """

    def __init__(
        self,
        name: str,
        *,
        settings: Settings | None = None,
        lifespan: Lifespan | None = None,
        uploads: UploadPort | bool = True,
        reading_tools: bool = False,
        log_level: Any = "WARNING",
        **options: Any,
    ) -> None:
        settings = settings or load_settings()
        readers = frozenset(tool.name for tool in named_reading_tools()) if reading_tools else frozenset()
        offers = OfferRegistry(time, settings.max_inline_body_bytes)
        super().__init__(settings, PlaneHolder(settings), offers, framework_for("mcp", ()), readers)
        self._lifespan = lifespan
        self._feeds: dict[str, Feed] = {}
        options.setdefault("subscriptions", FeedBus(self._holder, self._feeds))
        if uploads is True:  # only the user plane may read uploads
            uploads = self.settings.role == "plane" and PlaneUploads(self._holder)
        self._others = DescriptorOffers(self._holder, self._offers, self.settings, time)
        transfers = TransferExtension(self._holder, self._offers, self._others, self.settings, uploads or None)
        self._tasks = TaskProcess(name, self._holder, self._task_tools, lifespan)
        tasks = TasksExtension(self._tasks.tasks, self._task_tools, options["subscriptions"] or None)
        ours = EventsExtension(self._holder, self._feeds), transfers, tasks
        options["extensions"] = [*options.get("extensions", ()), *ours]
        options["middleware"] = [*options.get("middleware", ()), transfers.advertise, tasks.middleware]
        if reading_tools:
            options["tools"] = [*options.get("tools", ()), *mcp_reading_tools(self._holder)]
        text_handler(log_level)  # before the SDK's, which draws tracebacks in narrow boxes
        self.mcp = OwnMCPServer(name, lifespan=self._session, log_level=log_level, **options)
        self.mcp.resource(
            f"{RESOURCE_SCHEME}://body/{{grant}}",
            name="body",
            description="A published body, for clients without another way to it; a read counts as a delivery",
        )(body_reader(self._holder, self._offers, self.settings.max_inline_result_bytes))

    def feed(self, name: str, *, key: str | Sequence[str] | None = None, description: str = "") -> Feed:
        """Declare a feed that this server's tools publish: `await feed.publish(rows)`.

        It becomes the resource `plane://feed/<name>`, whose readers get a grant. Clients that listen to the resource
        are notified of versions that any process publishes, and the Events extension (SEP-3415) lists, polls and
        streams them (docs/feeds.md).

        Raises:
            WireError: the name is not valid.
        """
        declared = Feed(parse_feed(name), key_names(key), description, self._holder)
        self._feeds[name] = declared
        self.mcp.resource(feed_uri(name), name=name, description=description or f"The newest version of {name}")(
            declared.read
        )
        return declared

    async def offer(
        self, ctx: Any, *descriptors: Descriptor | Way, text: str = "", inline: InlineData | None = None
    ) -> Any:
        """The result of a tool whose data is not in the plane: `return await server.offer(ctx, descriptor)`.

        `ctx` is the tool's Context, and `text` is for the model. The client gets the first descriptor that it can
        carry out, best first by the ranking of offers (docs/transfers.md); those with a `description` of how to carry
        them out (Level 2) only if it declares `level2`. `inline` is awaited for the data itself, as `Plane.publish`
        takes it, if the client can take none, or reports that a transfer is impossible.

        Raises:
            UnsupportedProtocolError: the client can take none of them, and there is no `inline`.
        """
        made = await self._others.result(capabilities_of_call(ctx), descriptors, text, inline)
        return self._framework.result(made)

    async def plane(self) -> Plane:
        """The plane of this process, for tools that publish or pull themselves."""
        return await self._holder.plane()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[None]:
        """A block in which the tools can be called in this process, by `mcp.call_tool`, and durable tasks run.

        Its end closes the plane. The session of an MCP client opens such a block itself.
        """
        async with self._holder.session(), self._tasks.session(self.mcp):
            yield

    def run(self, transport: Any = "stdio", **options: Any) -> None:
        """Serve until the client leaves (stdio) or Ctrl-C (`"streamable-http"`, with `host=` and `port=`)."""
        self.mcp.run(transport, **options)

    @asynccontextmanager
    async def _session(self, server: MCPServer[Any]) -> AsyncIterator[Any]:
        async with self.session():
            if self._lifespan is None:
                yield None
            else:
                async with self._lifespan(server) as state:
                    yield state
