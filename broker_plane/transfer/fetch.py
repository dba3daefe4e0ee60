"""Carries out descriptors: fetching, following and pushing, with the handler that the registry has for the protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from broker_plane.client.upload import Uploader
from broker_plane.errors import TransferError, UnsupportedProtocolError
from broker_plane.files.atomic import begun, part_of, read, write
from broker_plane.plane.bodies.publish import Progress, report_progress
from broker_plane.plane.ports import Puller
from broker_plane.transfer import live
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.checks import check_not_expired, checked
from broker_plane.transfer.handler import RangeSource
from broker_plane.transfer.plugins import ALL
from broker_plane.transfer.push import Pushes
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.registry import HandlerRegistry
from broker_plane.transfer.secret_logs import followed, kept_from_logs
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import Protocol as ProtocolFacts


@dataclass(frozen=True, slots=True)
class Fetched:
    """A complete and verified file; `size` is in bytes."""

    path: Path
    size: int


class Learned(Protocol):
    """Carries out descriptors whose protocol no handler knows, with code that a model wrote (levels/)."""

    def open(self, descriptor: Descriptor, allowance: Allowance) -> AsyncGenerator[bytes, None]:
        """The bytes of the endpoint, after they were verified as `checked` verifies them.

        Raises:
            UnsupportedProtocolError: the setting, the descriptor or this machine does not permit it. LevelsError.
        """


class Transfers:
    """Carries out descriptors within `reach`.

    A transfer that announces its size may have `max_bytes`, any other `unsized_bytes`; `fetch` into memory is limited
    to `memory_bytes`. `nats` pulls presigned subjects, `follow` reads live streams behind them, and `uploads` makes
    resumable uploads to our own bridges. `learned` carries out what no handler knows. `plugins` names the packages
    whose handlers are used besides the built-in ones: `*`, or a comma list.
    """

    def __init__(
        self,
        reach: Reach,
        *,
        max_bytes: int,
        unsized_bytes: int = 32 << 20,
        memory_bytes: int = 1 << 30,
        nats: Puller | None = None,
        uploads: Uploader | None = None,
        follow: live.FollowSubject | None = None,
        learned: Learned | None = None,
        plugins: str = ALL,
    ) -> None:
        self._reach = reach
        self._learned = learned
        self._max_bytes = max_bytes
        self._unsized_bytes = unsized_bytes
        self._memory_bytes = min(max_bytes, memory_bytes)
        self._registry = HandlerRegistry(nats, follow, plugins)
        self._pushes = Pushes(reach, self._registry, max_bytes=max_bytes, unsized_bytes=unsized_bytes, uploads=uploads)

    def capabilities(self, formats: Sequence[str] = ()) -> Capabilities:
        """What a client of these transfers declares: the protocols that it carries out now, those of plug-ins included.

        `formats` are the media types that it takes; none means any.
        """
        return Capabilities(
            protocols=tuple(self._registry.usable()),
            formats=tuple(formats),
            compressions=("none", "gzip", "zstd"),
            runtimes=() if self._learned is None else ("python",),
            level2=self._learned is not None,
        )

    def protocols(self) -> Mapping[str, ProtocolFacts]:
        """The facts about every protocol that is known here, those of plug-ins included, for the ranking of offers."""
        return self._registry.protocols()

    async def handles(self, protocol: str) -> bool:
        """Whether a handler knows this protocol (Level 1)."""
        await self._registry.ready(protocol)
        return self._registry.find(protocol) is not None

    def open(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """The bytes that the descriptor describes, in pieces. Only a completed iteration is a verified read.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError, UntrustedHostError, ForbiddenPathError: before any byte.
            WrongSizeError, WrongChecksumError, WrongCompressionError, TooLargeError, RedirectedError, AuthFailedError,
            TransferInterruptedError: during the transfer.
        """
        allowance = self._allowance(descriptor, self._max_bytes)
        return self._open(descriptor, self._source(descriptor, allowance), allowance)

    def _allowance(self, descriptor: Descriptor, most: int) -> Allowance:
        return Allowance(most, self._unsized_bytes, descriptor.size)

    def _open(
        self, descriptor: Descriptor, source: AsyncGenerator[bytes, None], allowance: Allowance
    ) -> AsyncGenerator[bytes, None]:
        check_not_expired(descriptor)
        if descriptor.mode == "collaborate":
            raise TransferError("A descriptor of mode collaborate is an invitation: join it with plane.sessions.join")
        if descriptor.mode not in ("fetch", "stream"):
            raise TransferError(f"A descriptor of mode {descriptor.mode} cannot be fetched")
        return checked(source, descriptor, allowance)

    async def fetch(self, descriptor: Descriptor, progress: Progress | None = None) -> bytes:
        """The bytes, whole and verified. Raises as `open`."""
        got: list[bytes] = []
        size = 0
        allowance = self._allowance(descriptor, self._memory_bytes)
        opened = self._open(descriptor, self._source(descriptor, allowance), allowance)
        async with aclosing(opened) as pieces:
            async for piece in pieces:
                got.append(piece)
                size += len(piece)
                await report_progress(progress, size, descriptor.size_hint)
        return b"".join(got)

    async def fetch_to(
        self, descriptor: Descriptor, path: Path, progress: Progress | None = None, *, resume: bool = False
    ) -> Fetched:
        """Fetch into a file, which exists only once it is complete and verified. Raises as `open`.

        With `resume` a cancelled, interrupted or killed transfer leaves `<path>.part`; the next call with `resume`
        continues it by Range if the descriptor has a checksum, which verifies both parts together.
        """
        await self._registry.ready(descriptor.protocol)
        by_range = self._resumable(descriptor) if resume else None
        there = await begun(path) if by_range else 0
        if descriptor.size is None:
            there = max(0, there - 1)  # leaves at least one byte to request
        allowance = self._allowance(descriptor, self._max_bytes)
        if by_range and there:
            source = self._rest(by_range, descriptor, path, there, allowance)
        else:
            source = self._source(descriptor, allowance)
        pieces = self._open(descriptor, source, allowance)
        return Fetched(path, await write(pieces, path, progress, descriptor.size_hint, after=there, keep=resume))

    async def _rest(
        self, by_range: RangeSource, descriptor: Descriptor, path: Path, there: int, allowance: Allowance
    ) -> AsyncGenerator[bytes, None]:
        """The `there` bytes of an earlier attempt, then the missing ones from the endpoint."""
        async with aclosing(read(part_of(path), 0, there)) as pieces:
            async for piece in pieces:
                yield piece
        if descriptor.size is None or there < descriptor.size:
            rest = followed(descriptor, by_range(descriptor, self._reach, allowance, after=there))
            async with aclosing(rest) as pieces:
                async for piece in pieces:
                    yield piece

    def follow(self, descriptor: Descriptor, after: int = 0) -> AsyncGenerator[live.Item, None]:
        """(number, row or chunk) of a live stream, from the item after `after` to the end; over ws, sse or nats.

        Requesting the next item acknowledges this one. Interrupted connections are resumed; a reader that stopped
        continues later with the number it had last.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError: before any byte. Later as `transfer.live.follow`.
        """
        check_not_expired(descriptor)
        handler = self._registry.find(descriptor.protocol)
        if descriptor.mode != "stream" or handler is None or handler.follow is None:
            raise UnsupportedProtocolError(f"Cannot follow {descriptor.protocol} in mode {descriptor.mode}")
        return followed(descriptor, handler.follow(descriptor, self._reach, after))

    async def push(self, descriptor: Descriptor, source: Path, progress: Progress | None = None) -> None:
        """Send a file to the endpoint of a descriptor of mode push, over http, https or s3-presigned.

        Its member `multipart` {part_size, parts: [URL, …], complete: URL} makes it S3's multipart upload. An upload to
        one of our own bridges is resumed after a break, also by a later call.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError, UntrustedHostError, TransferInterruptedError,
            TransferError.
        """
        with kept_from_logs(descriptor):
            await self._pushes.push(descriptor, source, progress)

    async def push_through(
        self, descriptor: Descriptor, source: Path, output: Path, progress: Progress | None = None
    ) -> None:
        """As `push`, and write the endpoint's response to `output`: a copy of `source` if the response is empty.

        The descriptor's `compression`, `size_hint` and `checksum` describe the response. For an upload to one of our
        own bridges the output is `{"body_id", "resource_url", "size", "digest"}` in JSON.
        """
        with kept_from_logs(descriptor):
            await self._pushes.through(descriptor, source, output, progress)

    def publishes(self, descriptor: Descriptor) -> bool:
        """Whether a push by this descriptor creates a body in this plane."""
        return descriptor.mode == "push" and self._pushes.uploads(descriptor)

    async def _source(self, descriptor: Descriptor, allowance: Allowance) -> AsyncGenerator[bytes, None]:
        known = await self.handles(descriptor.protocol)
        if not known and self._learned is not None:
            found = self._learned.open(descriptor, allowance)
        elif not known and descriptor.description is not None:
            raise UnsupportedProtocolError(
                f"There is no handler for {descriptor.protocol}. A model can write one from its description: see "
                "BROKER_PLANE_LEVELS"
            )
        else:
            found = self._registry.get(descriptor.protocol).source(descriptor, self._reach, allowance)
        async with aclosing(followed(descriptor, found)) as pieces:
            async for piece in pieces:
                yield piece

    def _resumable(self, descriptor: Descriptor) -> RangeSource | None:
        """The source that continues a partial file of this descriptor, if its checksum can verify both parts."""
        plain = (descriptor.compression or "none") == "none"
        handler = self._registry.find(descriptor.protocol)
        return handler.resume if handler is not None and plain and descriptor.digest else None
