"""PlaneServer: an MCP server whose resource tools publish bodies and whose consumer tools pull them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from time import time
from typing import TYPE_CHECKING, Any, Literal, TypeVar, overload

from mcp.server.mcpserver import MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError

from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.logs import text_handler
from broker_plane.mcp_server.capabilities import capabilities_of_call
from broker_plane.mcp_server.descriptor_offers import DescriptorOffers, InlineData
from broker_plane.mcp_server.events import EventsExtension
from broker_plane.mcp_server.feed import Feed, FeedBus, feed_uri
from broker_plane.mcp_server.files import PlaneUploads, UploadPort
from broker_plane.mcp_server.offers import OfferRegistry
from broker_plane.mcp_server.reading_tools import mcp_reading_tools
from broker_plane.mcp_server.resources import body_reader
from broker_plane.mcp_server.transfers import TransferExtension
from broker_plane.plane.redacted_logs import redact_loggers, redacted_logger
from broker_plane.reading.tools import reading_tools as named_reading_tools
from broker_plane.tools import consumer as consumers
from broker_plane.tools import resource as resources
from broker_plane.tools import results
from broker_plane.tools.framework_lookup import framework_for
from broker_plane.tools.plane_holder import PlaneHolder
from broker_plane.wire.feeds import key_names, parse_feed
from broker_plane.wire.names import RESOURCE_SCHEME

if TYPE_CHECKING:
    from broker_plane.runtime.offering import Published
    from broker_plane.runtime.plane import Plane
    from broker_plane.wire.descriptor import Descriptor
    from broker_plane.wire.offers import Way

redact_loggers("mcp", "server", "client", "sse_starlette.sse")  # at DEBUG they log messages, and results contain grants

log = redacted_logger(__name__)

F = TypeVar("F", bound=Callable[..., Any])
Lifespan = Callable[[MCPServer[Any]], AbstractAsyncContextManager[Any]]


class PlaneServer:
    """An MCPServer (`self.mcp`) with two additional decorators. `options` are passed to the MCPServer.

    `uploads` chooses where clients upload to (`files/authorizeUpload`): the plane (True), an `UploadPort`, or nowhere.
    `reading_tools` adds the tools with which an agent reads on in any body (docs/reading.md).
    The plane is connected at the first body: a server whose tools are only listed starts no broker.
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
        self.settings = settings or load_settings()
        self._holder = PlaneHolder(self.settings)
        self._offers = OfferRegistry(time, self.settings.max_inline_body_bytes)
        self._framework = framework_for("mcp", ())
        self._lifespan = lifespan
        self._feeds: dict[str, Feed] = {}
        options.setdefault("subscriptions", FeedBus(self._holder, self._feeds))
        if uploads is True:  # only the user plane may read uploads
            uploads = self.settings.role == "plane" and PlaneUploads(self._holder)
        self._others = DescriptorOffers(self._holder, self._offers, self.settings, time)
        transfers = TransferExtension(self._holder, self._offers, self._others, self.settings, uploads or None)
        options["extensions"] = [*options.get("extensions", ()), EventsExtension(self._holder, self._feeds), transfers]
        options["middleware"] = [*options.get("middleware", ()), transfers.advertise]
        self._readers = frozenset(tool.name for tool in named_reading_tools()) if reading_tools else frozenset()
        if reading_tools:
            options["tools"] = [*options.get("tools", ()), *mcp_reading_tools(self._holder)]
        text_handler(log_level)  # before the SDK's, which draws tracebacks in narrow boxes
        self.mcp: MCPServer[Any] = _Server(name, lifespan=self._session, log_level=log_level, **options)
        self.mcp.resource(
            f"{RESOURCE_SCHEME}://body/{{grant}}",
            name="body",
            description="A published body, for clients without another way to it; a read counts as a delivery",
        )(body_reader(self._holder, self._offers, self.settings.max_inline_result_bytes))

    @overload
    def resource_tool(self, name: F, /) -> F: ...

    @overload
    def resource_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        ttl: int | None = None,
        uses: int | Literal["unlimited"] | None = None,
        abstract_limit: int | Literal["all"] | None = None,
        **options: Any,
    ) -> Callable[[F], F]: ...

    def resource_tool(
        self,
        name: Any = None,
        description: str | None = None,
        *,
        ttl: int | None = None,
        uses: int | Literal["unlimited"] | None = None,
        abstract_limit: int | Literal["all"] | None = None,
        **options: Any,
    ) -> Any:
        """Register a function that returns a table (or bytes, or a Path) as a resource tool; the parentheses may be
        left out.

        The tool has three added parameters, `abstract_domains`, `mode` and `uses`
        (docs/reference/wire-protocol.md#results). The function may be plain or async and return rows (dicts, models,
        tuples, scalars), a table, an array, a cursor, an iterator or an async iterator (which is published while it
        runs), bytes or a Path. `ttl` is in seconds, `uses` counts deliveries (or is "unlimited"), `abstract_limit` is
        in rows (or "all"); None is the setting. `options` go to `MCPServer.add_tool`.

        Raises:
            ConfigError: `uses` or `abstract_limit` is 0.
        """
        _check_not_zero(uses, "uses", "unlimited")
        _check_not_zero(abstract_limit, "abstract_limit", "all")
        chosen = resources.ResourceOptions(ttl, uses, abstract_limit)
        around = resources.Surroundings(
            self._framework,
            self._holder.plane,
            self.settings.max_inline_result_bytes,
            resources.wire_uses(self.settings.grant_uses),
            self._described,
            lambda ctx, created: results.session_offered(created, capabilities_of_call(ctx)),
            self._readers,
        )

        def register(function: F) -> F:
            tool = resources.resource_tool(function, around, chosen)
            self._add(tool, None if callable(name) else name, description, resources.TEACHING, options)
            return function

        return register(name) if callable(name) else register

    @overload
    def consumer_tool(self, name: F, /) -> F: ...

    @overload
    def consumer_tool(
        self,
        name: str | None = None,
        description: str | None = None,
        *,
        trust: consumers.Trust = "source",
        bodies: Sequence[str] | None = None,
        **options: Any,
    ) -> Callable[[F], F]: ...

    def consumer_tool(
        self,
        name: Any = None,
        description: str | None = None,
        *,
        trust: consumers.Trust = "source",
        bodies: Sequence[str] | None = None,
        **options: Any,
    ) -> Any:
        """Register a function that takes bodies from other servers as a consumer tool; the parentheses may be left out.

        Its bodies are the parameters that are annotated as tables or lists of objects; without one, the first
        parameter; `bodies` names others. In place of a body the tool has `abstract_data`, `resource_url`, `body_data`
        and `column_mapping`, with the name of the parameter in front of each if there are several bodies.

        The function is called with the merged rows in the annotated type: `list[dict]`, a list of pydantic models,
        dataclasses, typed dicts, named tuples or scalars, a tuple or an (async) iterator of these, a table of pyarrow,
        polars or pandas, bytes or a Path. With `trust="agent"`, values that the agent changed in the abstract replace
        those of the source.

        Raises:
            ConfigError: there is no parameter for a body, or its type cannot be validated.
        """

        def register(function: F) -> F:
            tool = consumers.consumer_tool(function, self._holder, trust, self._framework, bodies)
            self._add(tool, None if callable(name) else name, description, consumers.teaching_of(tool), options)
            return function

        return register(name) if callable(name) else register

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

    def session(self) -> AbstractAsyncContextManager[None]:
        """A block in which the tools can be called in this process, by `mcp.call_tool`; its end closes the plane.

        The session of an MCP client opens such a block itself.
        """
        return self._holder.session()

    def run(self, transport: Any = "stdio", **options: Any) -> None:
        """Serve until the client leaves (stdio) or Ctrl-C (`"streamable-http"`, with `host=` and `port=`)."""
        self.mcp.run(transport, **options)

    def _add(
        self, tool: Callable[..., Any], name: str | None, text: str | None, teaching: str, options: dict[str, Any]
    ) -> None:
        description = (text or tool.__doc__ or "").strip()
        self.mcp.add_tool(tool, name=name, description=f"{description}\n\n{teaching}".strip(), **options)

    async def _described(self, ctx: Any, published: Published) -> dict[str, Any] | None:
        """The descriptor for the client of a call, sealed so that it may confirm the transfer or report a failure."""
        fields = results.offered(published, capabilities_of_call(ctx))
        return None if fields is None else await self._offers.offer(await self._holder.plane(), published, fields)

    @asynccontextmanager
    async def _session(self, server: MCPServer[Any]) -> AsyncIterator[Any]:
        async with self._holder.session():
            if self._lifespan is None:
                yield None
            else:
                async with self._lifespan(server) as state:
                    yield state


class _Server(MCPServer[Any]):
    """The SDK's server, which reports our own errors in one line instead of a traceback."""

    async def call_tool(self, name: str, arguments: dict[str, Any], *rest: Any, **options: Any) -> Any:
        """As the SDK's; an error of ours in a tool becomes a ToolError with its text, which says what to do."""
        try:
            return await super().call_tool(name, arguments, *rest, **options)
        except UnexpectedToolError as error:
            cause = error.__cause__
            if not isinstance(cause, BrokerPlaneError):
                raise
            log.warning("The tool %s failed: %s", name, cause)
            raise ToolError(f"Error executing tool {name}: {cause}") from cause


def _check_not_zero(value: object, name: str, word: str) -> None:
    if value == 0 and value is not False:
        raise ConfigError(f'{name}=0 is ambiguous: write {name}="{word}", or a number')
