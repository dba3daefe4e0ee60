"""`Plane`: publishes bodies and pulls them with grants, over one connection."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from functools import cached_property, partial
from pathlib import Path
from time import time
from typing import TYPE_CHECKING, Any, Literal

from broker_plane.broker.urls import bare
from broker_plane.config import Settings, load_settings
from broker_plane.errors import WireError
from broker_plane.files.media_types import guess_media_type
from broker_plane.formats.kinds import kind_out, parse_format
from broker_plane.formats.table_files import RowsFile
from broker_plane.plane.grants.owners import Revocation
from broker_plane.reading.request import ReadRequest
from broker_plane.reading.tokens import DEFAULT_TOKENS
from broker_plane.runtime import arguments, querying
from broker_plane.runtime.bodies import OwnedBodies
from broker_plane.runtime.connect import Connected, Connecting
from broker_plane.runtime.grants import GrantIssuer
from broker_plane.runtime.keys import OwnerKeys
from broker_plane.runtime.narrowing import Narrowed, Narrowing, RowsAsked, narrowed
from broker_plane.runtime.offering import Published
from broker_plane.runtime.publishing import BodyOptions, BodyPublisher, check_publish, order_of, version_of
from broker_plane.runtime.pulls import Pull, PullRouter, Via, selector_of
from broker_plane.runtime.querying import QueryResult
from broker_plane.runtime.roles import user_plane, wired
from broker_plane.runtime.uploads import UploadGrants
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.readiness import UNKNOWN
from broker_plane.wire.feeds import Since, column_names
from broker_plane.wire.grant import grant_of
from broker_plane.wire.plane_names import Names
from broker_plane.wire.urls import data_url

if TYPE_CHECKING:
    from broker_plane.client.upload import Uploaded, Uploader
    from broker_plane.plane.bodies.publish import Progress
    from broker_plane.plane.feeds.message import FeedMessage
    from broker_plane.plane.feeds.retention import Retention
    from broker_plane.plane.feeds.retry_schedule import RetrySchedule
    from broker_plane.plane.feeds.version import Kind
    from broker_plane.plane.ports import Incoming
    from broker_plane.plane.sessions.host import SessionHost
    from broker_plane.reading.answers import BodyDescription, ReadAnswer
    from broker_plane.runtime.agents import Agents
    from broker_plane.runtime.exchanges import Exchanges
    from broker_plane.runtime.feed_adapters import FeedAdapters
    from broker_plane.runtime.feeds import Feeds
    from broker_plane.runtime.health import Health
    from broker_plane.runtime.levels import Levels
    from broker_plane.runtime.mcp_servers import McpServers
    from broker_plane.runtime.protocols import Protocols
    from broker_plane.runtime.saving import Saved
    from broker_plane.runtime.sessions import Sessions
    from broker_plane.runtime.streams import Streams
    from broker_plane.runtime.subscribing import FeedSubscription
    from broker_plane.runtime.tasks import Tasks
    from broker_plane.runtime.webhooks import Webhooks
    from broker_plane.transfer.fetch import Transfers
    from broker_plane.wire.preview import Preview


class Plane:
    """Publishes bodies and pulls them with grants. Made by `Plane.connect`.

    The common verbs are methods; the rest is in parts, each made at its first use: `grants`, `keys`, `bodies`, `feeds`,
    `uploads`, `streams`, `sessions`, `protocols`, `agents`, `tasks`, `exchanges`, `mcp_servers`,
    `webhooks`, `transfers`, `levels`, `pulls` and `health`. A part that the role does not permit raises
    NotPermittedError.
    """

    def __init__(self, connected: Connected) -> None:
        self.settings = connected.settings
        self.bridge_url = connected.bridge_url
        self.name = connected.name
        """The name by which this process pulls over NATS."""
        self.pulls = PullRouter(self.settings, self.bridge_url, connected.nats, guest=connected.wiring is None)
        self.pulls.http.before = connected.before_http
        self._wired = connected.wiring
        self._closing = AsyncExitStack()
        self._closing.push_async_callback(self.pulls.http.close)

    @staticmethod
    def connect(settings: Settings | None = None) -> Connecting[Plane]:
        """Connect for the time of an `async with` block: to `BROKER_PLANE_NATS_URL`, or to this user's embedded broker.

        Raises:
            BrokerUnavailableError, ConfigError, EmbeddedError: no broker can be reached or started; the message says
            why.
        """
        return Connecting(settings, Plane)

    @staticmethod
    def guest(nats_url: str) -> Connecting[Plane]:
        """Connect for pulling only. Each pull authenticates with its own grant: a user in `nats_url` is ignored."""
        return Plane.connect(load_settings(nats_url=bare(nats_url), role="guest"))

    async def close(self) -> None:
        """Close the HTTP clients of this plane; `connect` calls it at the end of the block."""
        await self._closing.aclose()

    @property
    def offers_subjects(self) -> bool:
        """Whether a presigned subject may be handed on; see `Published.offers_subject`."""
        return self._wired is None or self._wired.guests

    @property
    def durability(self) -> str:
        """What an acknowledged publish survives, such as "fsync before ack"."""
        return self._wired.durability if self._wired else UNKNOWN

    async def publish(
        self,
        data: Any,
        *,
        abstract: arguments.AbstractColumns = (),
        abstract_limit: int | Literal["all"] | None = None,
        ttl: arguments.Lifetime | None = None,
        uses: arguments.Uses | None = None,
        name: str = "",
        media_type: str = "",
        delete_when_used: bool | None = None,
        progress: Progress | None = None,
        feed: str = "",
        key: str | Sequence[str] | None = None,
        kind: Kind = "snapshot",
        removed: Sequence[Any] = (),
        columns: Sequence[str] | None = None,
        new_schema: bool = False,
        retention: Retention | None = None,
    ) -> Published:
        """Publish rows (a list, table, iterator or async iterator), bytes or a Path. The body is stored on return.

        A Path is stored as it is, whatever its format; `read_file(path)` reads the table in it.

        `abstract` names the columns whose values are returned with it ("all" for every column), for up to
        `abstract_limit` rows ("all" for every row). `ttl` is in seconds, or a timedelta, or a text such as "10m"; the
        maximum is 30 days. `uses` is the number of completed deliveries of the grant, or "unlimited". With
        `delete_when_used` the body is deleted as soon as all its grants are used up or revoked. `progress` is called
        with the number of rows or bytes done, and the total if it is known.

        With `feed` the body becomes the feed's next version, and its subscribers are notified. Publishing unchanged
        rows is idempotent: it returns the latest version. `key` names the columns that identify a row. With
        `kind="delta"` the rows are those that are new or changed (their key, and the columns that changed), and
        `removed` are the keys of deleted rows. A feed keeps its columns, even in a version without rows; `new_schema`
        permits removing columns and changing types. `retention` says what the feed keeps (docs/feeds.md).

        `columns` declares all columns in order, also for a body without rows. By default they are those of the rows,
        and for a feed also those of its earlier versions.

        Raises:
            TabularError, SelectorError, SchemaError, StoreFullError, TooLargeError: nothing was stored.
            BrokerUnavailableError: nobody has a grant for it; publish again.
        """
        check_publish(kind, removed)
        if columns is None and isinstance(data, RowsFile) and data.declared:
            columns = data.columns
        declared = None if columns is None else column_names(columns)
        options = BodyOptions(ttl, uses, name, media_type, delete_when_used, progress)
        order = order_of(self.settings, options, abstract, abstract_limit, columns=() if feed else declared or ())
        if not feed:
            return await self._publisher.publish(data, order)
        version = version_of(self.settings, feed, key, kind, removed, declared, new_schema, retention)
        return await self._publisher.publish_version(self.feeds.adapters.versions, data, order, version)

    async def publish_pieces(
        self,
        pieces: AsyncIterator[bytes],
        *,
        ttl: arguments.Lifetime | None = None,
        uses: arguments.Uses | None = None,
        name: str = "",
        media_type: str = "",
        delete_when_used: bool | None = None,
        progress: Progress | None = None,
    ) -> Published:
        """Publish an opaque body that arrives in pieces. Parameters and errors are those of `publish`."""
        options = BodyOptions(ttl, uses, name, media_type, delete_when_used, progress)
        order = order_of(self.settings, options)
        return await self._publisher.publish_pieces(pieces, order)

    async def pull(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        via: Via | None = None,
        progress: Progress | None = None,
        validate: Callable[..., Any] | None = None,
    ) -> Any:
        """Return the rows of a body, in the order of `row_ids` if given, or the bytes of an opaque body; verified.

        `address` is a `resource_url` or a presigned subject. With `validate`, return what it returns for the
        `PulledBody`; if it raises, the delivery counts as failed and no use is spent.

        Raises:
            GrantError, SelectorError, UntrustedHostError, TransferInterruptedError, BodyLostError,
            BrokerUnavailableError.
        """
        return await self.pulls.rows_or_bytes(Pull(address, selector_of(columns, row_ids), via, progress), validate)

    async def pull_table(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        via: Via | None = None,
        progress: Progress | None = None,
        validate: Callable[..., Any] | None = None,
    ) -> Any:
        """Like `pull`, but return the rows as a pyarrow.Table (`polars.from_arrow(…)`, `….to_pandas()`).

        A body that was published as a table keeps its types. `validate` receives the table.

        Raises:
            ConfigError: pyarrow is not installed. TabularError: the rows are not a table. Else as `pull`.
        """
        return await self.pulls.table(Pull(address, selector_of(columns, row_ids), via, progress), validate)

    async def pull_to(
        self, address: str, path: Path, *, via: Via | None = None, progress: Progress | None = None
    ) -> Incoming:
        """Write the stored bytes to `path`.

        A file, also behind a symbolic link, is replaced only after the bytes are verified, and keeps its mode and
        owner. A FIFO or a device receives the bytes as they arrive, except the last ones, which wait for verification.

        Raises:
            OSError: the path cannot be written. Else as `pull`.
        """
        return await self.pulls.to_file(Pull(address, via=via, progress=progress), path)

    async def pull_file(
        self,
        address: str,
        path: Path | str,
        *,
        format: str | None = None,
        columns: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        csv_safe: bool = False,
        via: Via | None = None,
        progress: Progress | None = None,
    ) -> Saved:
        """Write the rows to `path` in the format of its extension: Parquet, Arrow, CSV, TSV, XLSX, JSON and others.

        `format` names another one (docs/files.md#formats). A file is replaced only after the rows are verified, as
        `pull_to` does it. With `csv_safe` spreadsheets run no text in a CSV or TSV as a formula. The result says how
        many values the format changed.

        Raises:
            TabularError: the extension determines no format. ConfigError: a package that the format needs is not
            installed. TooLargeError: the rows exceed a limit of the format. OSError: the path cannot be written. Else
            as `pull`.
        """
        kind = kind_out(str(path), None if format is None else parse_format(format))
        pull = Pull(address, selector_of(columns, row_ids), via, progress)
        return await self.pulls.to_rows_file(pull, Path(path), kind, csv_safe=csv_safe)

    def iterate(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        row_ids: Sequence[int] | None = None,
        via: Via | None = None,
        progress: Progress | None = None,
    ) -> AsyncGenerator[dict[str, Any], None]:
        """Yield the rows one by one in bounded memory. Only a completed iteration is verified. Raises as `pull`."""
        return self.pulls.iterate(Pull(address, selector_of(columns, row_ids), via, progress))

    async def preview(
        self, address: str, *, where: str | None = None, sample: int = 5, via: Via | None = None
    ) -> Preview:
        """Return the columns, the number of rows that `where` leaves, and the first `sample` rows of a body.

        No use is spent, but a counted grant has a budget for previews: each costs at least a hundredth of a delivery,
        and the sample's share of the body; each use of the grant allows two deliveries' worth of them.

        Raises:
            SelectorError, GrantError, UntrustedHostError, BrokerUnavailableError.
        """
        asked = address if where is None else self.narrow(address, where=where).resource_url
        return await self.pulls.preview(asked, sample, via)

    async def read(
        self,
        address: str,
        *,
        page: int | None = None,
        rows: str | None = None,
        head: int | None = None,
        tail: int | None = None,
        grep: str | None = None,
        json_path: str | None = None,
        where: str | None = None,
        columns: Sequence[str] | None = None,
        max_tokens: int = DEFAULT_TOKENS,
    ) -> ReadAnswer:
        """Return a part of a body as text, of at most `max_tokens` tokens (4 bytes each): rows as CSV, lines, JSON.

        Give one of `page` (from 1), `rows` ("10-20", "5", "3,7", "30-": row ids, or line numbers from 1), `head`,
        `tail`, `grep` (a regular expression of RE2) and `json_path`. The answer's `next` says which argument goes on.
        `rows` may also limit `grep` and `json_path`. `where` and `columns` narrow a table first.

        Like a preview it takes no use, and a counted grant has a budget for it (docs/reading.md).

        Raises:
            WireError, SelectorError, TooLargeError, TooCostlyError, GrantError, UntrustedHostError,
            BrokerUnavailableError.
        """
        request = ReadRequest(
            page=page,
            rows=rows,
            head=head,
            tail=tail,
            grep=grep,
            json_path=json_path,
            columns=tuple(arguments.names(columns, "columns") or ()) or None,
            max_tokens=max_tokens,
        )
        return await self.pulls.read(self._readable(address, where), request)

    async def describe(self, address: str) -> BodyDescription:
        """Return what a body is: columns with figures, the outline of a text, or the shape of JSON.

        It takes no use; see `read`.

        Raises:
            GrantError, TooCostlyError, UntrustedHostError, BrokerUnavailableError.
        """
        return await self.pulls.describe(self._readable(address, None))

    async def query(
        self,
        sql: str,
        bodies: Mapping[str, str] | None = None,
        /,
        *,
        rows: int = 20,
        ttl: arguments.Lifetime | None = None,
        uses: arguments.Uses = "unlimited",
        **named: str,
    ) -> QueryResult:
        """Run one SELECT over bodies: `plane.query("SELECT … FROM a JOIN b USING (id)", a=url, b=url)`.

        `bodies` is a mapping instead of, or beside, these keywords. An address is a `resource_url` or a grant.
        A bridge runs it, over exactly what the grants show (docs/query.md). The result has its first `rows` rows.
        All of it is a new body, at `resource_url`, whose grant has `uses` and expires after `ttl`, and not later than
        the bodies' grants. No use is spent; a counted grant pays as for a preview.

        Raises:
            QueryRefusedError, QueryFailedError, TooCostlyError, QueryUnavailableError: the message says what to do.
            GrantError, UntrustedHostError, BrokerUnavailableError.
        """
        # Twice the limit of a bridge with the same settings, since a query may wait for another one.
        seconds = max(querying.LEAST_SECONDS, 2 * self.settings.max_query_seconds)
        tables = {**(bodies or {}), **named}
        return await querying.query(
            self.pulls, self.bridge_url, sql, tables, rows=rows, ttl=ttl, uses=uses, seconds=seconds
        )

    def narrow(
        self,
        address: str,
        narrowing: Narrowing | None = None,
        *,
        columns: Sequence[str] | None = None,
        rows: RowsAsked | None = None,
        first: int | None = None,
        where: str | None = None,
        ttl: arguments.Lifetime | None = None,
        uses: arguments.Uses | None = None,
        audience: str | None = None,
        max_bytes: int | None = None,
        formats: Sequence[str] | None = None,
        role: str | None = None,
        intent: str | None = None,
        participant: str | None = None,
    ) -> Narrowed:
        """Return a grant that shows less than the one in `address` (a URL, a presigned subject, or the grant).

        This sends no request. The keywords are the fields of `Narrowing`, which can be passed instead of them.

        Raises:
            SelectorError, WireError, TooLargeError: the grant cannot be narrowed like this.
            ForbiddenError: what the grant is for has no such limit.
        """
        less = narrowing or Narrowing(
            columns=columns,
            rows=rows,
            first=first,
            where=where,
            ttl=ttl,
            uses=uses,
            audience=audience,
            max_bytes=max_bytes,
            formats=formats,
            role=role,
            intent=intent,
            participant=participant,
        )
        now = self._wired.now() if self._wired else time()
        return narrowed(
            arguments.address(address), less, bridge_url=self.bridge_url, names=Names(self.settings.prefix), now=now
        )

    async def revoke(self, grant: str) -> Revocation:
        """Revoke a grant, given as a `resource_url`, a presigned subject, the grant or its id.

        Every bridge refuses it within a second and aborts the pulls that use it. Grants narrowed from it have the same
        id and are revoked with it.

        Raises:
            GrantRefusedError, WireError: the grant is not genuine.
            BrokerUnavailableError: the outcome is not known; revoke it again.
        """
        return await self.grants.revoke(grant)

    def subscribe(
        self,
        feed: str,
        *,
        durable: str,
        since: Since = "last",
        retries: RetrySchedule | None = None,
        ack_seconds: float = 30.0,
        grant: str = "",
    ) -> AsyncGenerator[FeedMessage, None]:
        """Yield the feed's messages in order, from the cursor of `durable` on. Never ends.

        A message is acknowledged when the loop advances. If the loop exits, it is redelivered after the next delay of
        `retries`, to any subscriber with the same durable; after the last one it becomes a dead letter. Several
        processes may share a durable: one message is in flight at a time, and it is redelivered to another process if
        its own is silent for `ack_seconds`.

        A new durable begins at `since`: "last" (the newest version), "first", "new", a version (whole number), or a
        time in unix seconds (a float).

        With `grant`, from `plane.feeds.grant`, versions and changes are pulled with it, so hidden columns and rows are
        never transferred. A guest needs one; a bridge creates the guest's own durable (`<puller>_<durable>`), which
        keeps its cursor and no checkpoints.

        Raises:
            DurableError: the durable belongs to another feed, or was removed.
            GrantError: the grant does not open this feed.
        """
        from broker_plane.runtime.subscribing import subscribed

        asked = _subscription(feed, durable, since, retries, ack_seconds, grant)
        return subscribed(asked, self.pulls.nats, self._feeds_if_permitted())

    async def on_notice(
        self,
        feed: str,
        handle: Callable[[FeedMessage], Awaitable[object]],
        *,
        durable: str,
        since: Since = "last",
        retries: RetrySchedule | None = None,
        ack_seconds: float = 30.0,
        grant: str = "",
    ) -> None:
        """Call `handle` with every message of `feed`. Never ends.

        Like `subscribe`, but an error of `handle` does not end it: the message is redelivered, and the error of the
        last attempt is recorded in the dead letter.
        """
        from broker_plane.runtime.subscribing import subscriber

        asked = _subscription(feed, durable, since, retries, ack_seconds, grant)
        async with subscriber(asked, self.pulls.nats, self._feeds_if_permitted()) as found:
            await found.run(handle)

    async def upload(
        self,
        url: str,
        source: Path | bytes,
        *,
        name: str = "",
        media_type: str = "",
        progress: Progress | None = None,
    ) -> Uploaded:
        """Upload a file or bytes to `url` (an `UploadGrant.upload_url`). It is a stored body on return.

        `media_type` is by default that of the file's extension, or of the extension of `name`. An interrupted upload
        resumes at the bridge's offset, also in a later call.

        Raises:
            UntrustedHostError, GrantError, UploadError, TooLargeError, TransferInterruptedError.
        """
        file = source.name if isinstance(source, Path) else name
        media_type = media_type or guess_media_type(file)
        return await self._uploader.upload(url, source, name=name or file, media_type=media_type, progress=progress)

    def url_of(self, grant: str) -> str:
        """Return the `resource_url` of a grant at this plane's bridge."""
        return data_url(self.bridge_url, grant)

    @cached_property
    def grants(self) -> GrantIssuer:
        """Mints, describes and narrows grants for stored bodies."""
        return GrantIssuer(self._user_plane(), self.settings, self.bridge_url, self.name)

    @cached_property
    def keys(self) -> OwnerKeys:
        """Rotates this owner's keys, and makes seals with them."""
        return OwnerKeys(self.wiring)

    @cached_property
    def bodies(self) -> OwnedBodies:
        """This owner's stored bodies, and their audit."""
        return OwnedBodies(self._user_plane(), self.settings.owner)

    @cached_property
    def feeds(self) -> Feeds:
        """Versions of feeds, grants for them, durables and dead letters."""
        from broker_plane.runtime.feeds import Feeds  # pullers of single bodies need none

        return Feeds(self._user_plane(), self._feed_adapters, self.bridge_url, self.settings.owner)

    @cached_property
    def uploads(self) -> UploadGrants:
        """Makes grants for uploads."""
        return UploadGrants(self._user_plane(), self.settings, self.bridge_url)

    @cached_property
    def streams(self) -> Streams:
        """Publishes live streams."""
        from broker_plane.runtime.streams import Streams  # few processes need it

        return Streams(self._user_plane(), self.settings, self.bridge_url)

    @cached_property
    def sessions(self) -> Sessions:
        """Collaborative sessions: several agents and people on one artifact. Every role can take part."""
        from broker_plane.runtime.sessions import Sessions  # Yjs takes a moment to load

        return Sessions(
            self.settings, self.pulls, self.bridge_url, self.name, wiring=self._wired, host=lambda: self._session_host
        )

    @cached_property
    def agents(self) -> Agents:
        """Announces agents, finds those of others, and negotiates with them."""
        from broker_plane.runtime.agents import Agents  # only few processes need it

        return Agents(self._user_plane(), self.settings, lambda: self.transfers.capabilities())

    @cached_property
    def protocols(self) -> Protocols:
        """The registry of protocol descriptions: publishes, finds and composes them."""
        from broker_plane.runtime.protocol_reading import registry_bucket  # few processes need it
        from broker_plane.runtime.protocols import Protocols

        wiring = self._user_plane()
        made = Protocols(registry_bucket(wiring), self.settings, now=wiring.now)
        self._closing.push_async_callback(made.close)
        return made

    @cached_property
    def tasks(self) -> Tasks:
        """Durable tasks of MCP servers: lists, shows and cancels them."""
        from broker_plane.runtime.tasks import Tasks  # only servers with task tools and operators need it

        return Tasks(self._user_plane(), self.settings)

    @cached_property
    def exchanges(self) -> Exchanges:
        """Durable requests to MCP servers that are stored: lists, shows and cancels them."""
        from broker_plane.runtime.exchanges import Exchanges  # only operators need it

        return Exchanges(self._user_plane())

    @cached_property
    def mcp_servers(self) -> McpServers:
        """The MCP servers on this NATS."""
        from broker_plane.runtime.mcp_servers import McpServers  # only operators need it

        return McpServers(self._user_plane())

    @cached_property
    def webhooks(self) -> Webhooks:
        """HTTP endpoints to which bridges send the notices of feeds."""
        from broker_plane.runtime.webhooks import Webhooks  # only publishers of feeds need it

        made = Webhooks(self._user_plane(), self._feed_adapters, self.settings)
        self._closing.push_async_callback(made.close)
        return made

    @cached_property
    def transfers(self) -> Transfers:
        """Fetches and pushes by descriptor (SEP-2433), within what the settings allow (docs/handlers.md)."""
        from broker_plane.runtime.transfers import transfers  # its handlers take a moment to load

        cached = self.settings.levels != "off" and self.settings.role == "plane"  # only this role has the cache
        learned = self.levels.by_settings() if cached else None
        return transfers(self.settings, self.pulls, self._uploader, learned)

    @cached_property
    def levels(self) -> Levels:
        """Transfers over protocols that no handler knows, by code that a model wrote."""
        from broker_plane.runtime.levels import Levels  # sandboxes and providers take a moment to load
        from broker_plane.runtime.transfers import transfers

        # Not `self.transfers`: that needs the provider of the settings, and a call may name its own.
        native = partial(transfers, self.settings, self.pulls, self._uploader)
        return Levels(self._user_plane(), self.settings, native)

    @cached_property
    def health(self) -> Health:
        """Whether the broker works, and whether guests can use it."""
        from broker_plane.runtime.health import Health  # only operators need it

        return Health(self._user_plane(), self.settings)

    @cached_property
    def wiring(self) -> Wiring:
        """The components below this API, for a bridge of this process and for tests."""
        return wired(self._wired)

    @cached_property
    def _publisher(self) -> BodyPublisher:
        return BodyPublisher(self.wiring, self.settings, self.bridge_url)

    @cached_property
    def _uploader(self) -> Uploader:
        from broker_plane.runtime.transfers import uploader

        return uploader(self.settings, self.pulls)

    @cached_property
    def _feed_adapters(self) -> FeedAdapters:
        from broker_plane.runtime.feed_adapters import feed_adapters

        return feed_adapters(self._user_plane(), self.settings)

    @cached_property
    def _session_host(self) -> SessionHost:
        from broker_plane.runtime.session_hosting import session_host

        made = session_host(self._user_plane(), self.settings, self.bridge_url)
        self._closing.push_async_callback(made.close)
        return made

    def _readable(self, address: str, where: str | None) -> str:
        """The URL at which a body is read on."""
        address = arguments.address(address)
        if where is not None:
            address = self.narrow(address, where=where).resource_url
        if "://" in address:
            return address
        if not self.bridge_url:
            raise WireError("A body is read over HTTP: pass its resource_url")
        return self.url_of(grant_of(address))

    def _feeds_if_permitted(self) -> FeedAdapters | None:
        return self._feed_adapters if self.settings.role == "plane" else None

    def _user_plane(self) -> Wiring:
        return user_plane(self._wired, self.settings)


def _subscription(
    feed: str, durable: str, since: Since, retries: RetrySchedule | None, ack_seconds: float, grant: str
) -> FeedSubscription:
    from broker_plane.plane.feeds.retry_schedule import RetrySchedule
    from broker_plane.runtime.subscribing import FeedSubscription

    return FeedSubscription(
        feed=feed,
        durable=durable,
        since=since,
        retries=retries or RetrySchedule(),
        ack_seconds=ack_seconds,
        grant=grant,
    )
