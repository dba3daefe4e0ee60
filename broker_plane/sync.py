"""A synchronous Plane for scripts and notebooks: `from broker_plane.sync import Plane`.

    with Plane.connect() as plane:
        published = plane.publish(rows, abstract=["event"])
        rows = plane.pull(published.resource_url)

It has the verbs and parts of `broker_plane.Plane`; they block, and iterators are ordinary iterators. An event loop in a
thread of its own does the work, so it can also be used inside a running loop, as in Jupyter. Callbacks (`progress`,
`validate`) run in that thread.
"""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Generator, Iterator, Mapping
from concurrent.futures import Future
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, aclosing, suppress
from functools import partial, wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio.to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from broker_plane.config import Settings
from broker_plane.plane.feeds.message import FeedMessage
from broker_plane.plane.ports import Incoming
from broker_plane.runtime.plane import Plane as AsyncPlane
from broker_plane.runtime.querying import QueryResult
from broker_plane.runtime.session_requests import ParticipantRequests
from broker_plane.runtime.streams import LiveStream

__all__ = ["Plane"]

P = ParamSpec("P")
T = TypeVar("T")
_BATCH_ROWS = 256
_WITH_COROUTINES = (FeedMessage, Incoming, LiveStream, ParticipantRequests, QueryResult)
_END = object()


def _blocking(verb: Callable[Concatenate[AsyncPlane, P], Awaitable[T]]) -> Callable[Concatenate[Plane, P], T]:
    """Return the verb as a method of the synchronous Plane."""

    @wraps(verb)
    def method(self: Plane, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self._loop.call(partial(verb, self._inner, *args, **kwargs))

    return method


def _direct(verb: Callable[Concatenate[AsyncPlane, P], T]) -> Callable[Concatenate[Plane, P], T]:
    """Return a verb that does not wait for anything as a method of the synchronous Plane."""

    @wraps(verb)
    def method(self: Plane, /, *args: P.args, **kwargs: P.kwargs) -> T:
        return verb(self._inner, *args, **kwargs)

    return method


class Plane:
    """`broker_plane.Plane`, blocking. Made by `Plane.connect`."""

    def __init__(self, loop: _Loop, inner: AsyncPlane) -> None:
        self._loop = loop
        self._inner = inner
        self.settings = inner.settings
        self.bridge_url = inner.bridge_url
        self.name = inner.name
        self.durability = inner.durability
        self.offers_subjects = inner.offers_subjects

    @staticmethod
    def connect(settings: Settings | None = None) -> BlockingConnecting:
        """Connect for the time of a `with` block; see `broker_plane.Plane.connect`."""
        return BlockingConnecting(lambda: AsyncPlane.connect(settings))

    @staticmethod
    def guest(nats_url: str) -> BlockingConnecting:
        """Connect for pulling only; see `broker_plane.Plane.guest`."""
        return BlockingConnecting(lambda: AsyncPlane.guest(nats_url))

    publish = _blocking(AsyncPlane.publish)
    pull = _blocking(AsyncPlane.pull)
    pull_table = _blocking(AsyncPlane.pull_table)
    pull_to = _blocking(AsyncPlane.pull_to)
    pull_file = _blocking(AsyncPlane.pull_file)
    preview = _blocking(AsyncPlane.preview)
    read = _blocking(AsyncPlane.read)
    describe = _blocking(AsyncPlane.describe)
    revoke = _blocking(AsyncPlane.revoke)
    upload = _blocking(AsyncPlane.upload)

    def publish_pieces(self, pieces: Iterator[bytes], **options: Any) -> Any:
        """Publish an opaque body that arrives in pieces; see `broker_plane.Plane.publish_pieces`."""
        return self._loop.call(lambda: self._inner.publish_pieces(_in_threads(pieces), **options))

    def query(self, sql: str, bodies: Mapping[str, str] | None = None, /, **options: Any) -> Any:
        """Run one SELECT over bodies; see `broker_plane.Plane.query`. The result's `table()` blocks as well."""
        return _adapted(self._loop, self._loop.call(lambda: self._inner.query(sql, bodies, **options)))

    def iterate(self, address: str, **options: Any) -> Generator[dict[str, Any], None, None]:
        """Yield the rows one by one in bounded memory; see `broker_plane.Plane.iterate`."""
        batches = _batched(self._inner.iterate(address, **options), _BATCH_ROWS)
        for batch in self._loop.iterate(batches):
            yield from batch

    def subscribe(self, feed: str, **options: Any) -> Generator[Any, None, None]:
        """Yield the feed's messages; see `broker_plane.Plane.subscribe`. Their methods block as well."""
        return self._loop.iterate(self._inner.subscribe(feed, **options))

    def on_notice(self, feed: str, handle: Callable[[Any], object], **options: Any) -> None:
        """Call `handle` with every message of `feed`, in a worker thread. Never ends."""

        async def handled(message: FeedMessage) -> None:
            mine = _adapted(self._loop, message)
            await anyio.to_thread.run_sync(handle, mine, abandon_on_cancel=True)

        self._loop.call(lambda: self._inner.on_notice(feed, handled, **options))

    narrow = _direct(AsyncPlane.narrow)
    url_of = _direct(AsyncPlane.url_of)

    grants = property(lambda self: _Blocking(self._loop, self._inner.grants))
    keys = property(lambda self: _Blocking(self._loop, self._inner.keys))
    bodies = property(lambda self: _Blocking(self._loop, self._inner.bodies))
    feeds = property(lambda self: _Blocking(self._loop, self._inner.feeds))
    uploads = property(lambda self: _Blocking(self._loop, self._inner.uploads))
    streams = property(lambda self: _Blocking(self._loop, self._inner.streams))
    sessions = property(lambda self: _Blocking(self._loop, self._inner.sessions))
    webhooks = property(lambda self: _Blocking(self._loop, self._inner.webhooks))
    transfers = property(lambda self: _Blocking(self._loop, self._inner.transfers))
    levels = property(lambda self: _Blocking(self._loop, self._inner.levels))
    protocols = property(lambda self: _Blocking(self._loop, self._inner.protocols))
    agents = property(lambda self: _Blocking(self._loop, self._inner.agents))
    tasks = property(lambda self: _Blocking(self._loop, self._inner.tasks))
    mcp_servers = property(lambda self: _Blocking(self._loop, self._inner.mcp_servers))
    exchanges = property(lambda self: _Blocking(self._loop, self._inner.exchanges))
    pulls = property(lambda self: _Blocking(self._loop, self._inner.pulls))
    health = property(lambda self: _Blocking(self._loop, self._inner.health))


class BlockingConnecting(AbstractContextManager[Plane]):
    """A synchronous plane that exists only within `with`."""

    def __init__(self, connect: Callable[[], AbstractAsyncContextManager[AsyncPlane]]) -> None:
        self._connect = connect
        self._stack = ExitStack()

    def __enter__(self) -> Plane:
        with ExitStack() as stack:
            loop = _Loop(stack.enter_context(start_blocking_portal("asyncio")))
            plane = Plane(loop, stack.enter_context(loop.block(self._connect())))
            stack.callback(loop.end_iterators)
            self._stack = stack.pop_all()
        return plane

    def __exit__(self, *raised: Any) -> bool | None:
        return self._stack.__exit__(*raised)


class _Loop:
    """The event loop in its own thread. If the calling thread is interrupted (Ctrl-C), its call is cancelled there."""

    def __init__(self, portal: BlockingPortal) -> None:
        self._portal = portal
        self._producers: set[Future[None]] = set()

    def end_iterators(self) -> None:
        """End the iterators that were left half-way: the loop would wait for them forever."""
        for producer in list(self._producers):
            producer.cancel()

    def call(self, work: Callable[[], Awaitable[T]]) -> T:
        future = self._portal.start_task_soon(work)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def block(self, manager: AbstractAsyncContextManager[T]) -> AbstractContextManager[T]:
        return self._portal.wrap_async_context_manager(manager)

    def iterate(self, items: AsyncIterator[T]) -> Generator[T, None, None]:
        """Yield the items. They are produced by one task, which generators with task groups depend on."""
        requests: asyncio.Queue[Future[Any]] = asyncio.Queue()
        producer = self._portal.start_task_soon(_produce, items, requests)
        self._producers.add(producer)
        try:
            while True:
                wanted: Future[Any] = Future()
                self._portal.call(requests.put_nowait, wanted)
                item = wanted.result()
                if item is _END:
                    return
                yield _adapted(self, item)
        finally:
            self._producers.discard(producer)
            producer.cancel()


async def _produce(items: AsyncIterator[Any], requests: asyncio.Queue[Future[Any]]) -> None:
    async with aclosing(_generator(items)) as generator:
        while True:
            wanted = await requests.get()
            try:
                item = await anext(generator, _END)
            except BaseException as error:
                with suppress(Exception):  # the request was interrupted
                    wanted.set_exception(error)
                if isinstance(error, Exception):
                    return
                raise
            wanted.set_result(item)


class _Blocking:
    """A part, or an object with coroutines, whose methods block."""

    def __init__(self, loop: _Loop, inner: Any) -> None:
        self._loop = loop
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._inner, name)
        if not inspect.ismethod(value):
            return _adapted(self._loop, value)

        @wraps(value)
        def method(*args: Any, **kwargs: Any) -> Any:
            return _adapted(self._loop, value(*args, **kwargs))

        return method

    def __dir__(self) -> list[str]:
        return [name for name in dir(self._inner) if not name.startswith("_")]

    def __repr__(self) -> str:
        return f"<blocking {self._inner!r}>"


def _adapted(loop: _Loop, value: Any) -> Any:
    """Return the blocking form of what a method returned."""
    if inspect.iscoroutine(value):
        return _adapted(loop, loop.call(lambda: value))
    if isinstance(value, AsyncIterator):
        return loop.iterate(value)
    if isinstance(value, AbstractAsyncContextManager):
        return _Block(loop, value)
    return _Blocking(loop, value) if isinstance(value, _WITH_COROUTINES) else value


class _Block(AbstractContextManager[Any]):
    """An async context manager as an ordinary one."""

    def __init__(self, loop: _Loop, manager: AbstractAsyncContextManager[Any]) -> None:
        self._loop = loop
        self._manager = loop.block(manager)

    def __enter__(self) -> Any:
        return _adapted(self._loop, self._manager.__enter__())

    def __exit__(self, *raised: Any) -> bool | None:
        return self._manager.__exit__(*raised)


async def _batched(rows: AsyncGenerator[T, None], size: int) -> AsyncGenerator[list[T], None]:
    batch: list[T] = []
    async with aclosing(rows) as items:
        async for row in items:
            batch.append(row)
            if len(batch) == size:
                yield batch
                batch = []
    if batch:
        yield batch


async def _generator(items: AsyncIterator[T]) -> AsyncGenerator[T, None]:
    """Yield the items, and close them if they can be closed."""
    try:
        async for item in items:
            yield item
    finally:
        close = getattr(items, "aclose", None)
        if close is not None:
            await close()


async def _in_threads(pieces: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Yield pieces whose iterator may block."""
    while (piece := await anyio.to_thread.run_sync(next, pieces, None)) is not None:
        yield piece
