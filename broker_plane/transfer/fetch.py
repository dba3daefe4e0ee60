"""Fetching by descriptor, and pushing: the one place that knows which handler carries out which protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from time import time
from types import MappingProxyType

from broker_plane.client.upload import Uploader
from broker_plane.errors import DescriptorExpiredError, TransferError, UnsupportedProtocolError
from broker_plane.files.atomic import begun, part_of, read, write
from broker_plane.plane.bodies.publish import Progress, tell
from broker_plane.plane.bodies.pull import body_of
from broker_plane.plane.ports import Puller
from broker_plane.transfer import live
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.checks import checked
from broker_plane.transfer.files import fs_source, sftp_source
from broker_plane.transfer.http import http_source
from broker_plane.transfer.push import Pushes
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import mqtt_source, sse_source, ws_source
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.selector import WHOLE

Source = Callable[[Descriptor, Reach, Allowance], AsyncGenerator[bytes, None]]
SOURCES: Mapping[str, Source] = MappingProxyType(
    {
        "https": http_source,
        "http": http_source,
        "s3-presigned": http_source,
        "sse": sse_source,
        "wss": ws_source,
        "ws": ws_source,
        "mqtt": mqtt_source,
        "fs": fs_source,
        "sftp": sftp_source,
    }
)
PROTOCOLS = ("nats", *SOURCES)
"""What `Transfers` carries out at Level 1."""


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is there, whole and verified: `size` in bytes."""

    path: Path
    size: int


class Transfers:
    """Carries out descriptors within `reach`.

    At most `max_bytes` are taken of what announces its size, `unsized_bytes` of what does not, and `memory_bytes` of
    either into memory.

    `nats` pulls presigned subjects, `follow` reads streams behind them, and `uploads` sends to our own bridges what may
    break off.
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
        follow: live.Follow | None = None,
    ) -> None:
        self._reach = reach
        self._max_bytes = max_bytes
        self._unsized_bytes = unsized_bytes
        self._memory_bytes = min(max_bytes, memory_bytes)
        self._nats = nats
        self._follow = follow
        self._pushes = Pushes(reach, max_bytes=max_bytes, unsized_bytes=unsized_bytes, uploads=uploads)

    def open(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """The bytes that the descriptor promises, in pieces. Only a completed iteration is a verified read.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError, UntrustedHostError, ForbiddenPathError: at once.
            WrongSizeError, WrongChecksumError, WrongCompressionError, TooLargeError, RedirectedError, AuthFailedError,
            TransferInterruptedError: on the way.
        """
        allowance = self._allowance(descriptor, self._max_bytes)
        return self._open(descriptor, self._source(descriptor, allowance), allowance)

    def _allowance(self, descriptor: Descriptor, most: int) -> Allowance:
        return Allowance(most, self._unsized_bytes, descriptor.size_hint)

    def _open(
        self, descriptor: Descriptor, source: AsyncGenerator[bytes, None], allowance: Allowance
    ) -> AsyncGenerator[bytes, None]:
        if not descriptor.live(time()):
            raise DescriptorExpiredError("This descriptor has expired; ask for another one")
        if descriptor.mode not in ("fetch", "stream"):
            raise TransferError(f"A descriptor of mode {descriptor.mode} is not for fetching")
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
                await tell(progress, size, descriptor.size_hint)
        return b"".join(got)

    async def fetch_to(
        self, descriptor: Descriptor, path: Path, progress: Progress | None = None, *, resume: bool = False
    ) -> Fetched:
        """The bytes in a file, which is there only when they are whole and verified. Raises as `open`.

        With `resume` a cancellation, a break or a killed process leaves `<path>.part`; the next call with it goes on
        there by Range, where the descriptor's checksum holds both parts together.
        """
        there = await begun(path) if resume and _continuable(descriptor) else 0
        if descriptor.size_hint is None:
            there = max(0, there - 1)  # so that there is a range to ask for
        allowance = self._allowance(descriptor, self._max_bytes)
        rest = self._rest(descriptor, path, there, allowance) if there else self._source(descriptor, allowance)
        pieces = self._open(descriptor, rest, allowance)
        return Fetched(path, await write(pieces, path, progress, descriptor.size_hint, after=there, keep=resume))

    async def _rest(
        self, descriptor: Descriptor, path: Path, there: int, allowance: Allowance
    ) -> AsyncGenerator[bytes, None]:
        """The `there` bytes that an earlier attempt left, and from the endpoint those that are missing."""
        async with aclosing(read(part_of(path), 0, there)) as pieces:
            async for piece in pieces:
                yield piece
        if descriptor.size_hint is None or there < descriptor.size_hint:
            async with aclosing(http_source(descriptor, self._reach, allowance, after=there)) as pieces:
                async for piece in pieces:
                    yield piece

    def follow(self, descriptor: Descriptor, after: int = 0) -> AsyncGenerator[live.Item, None]:
        """(number, row or chunk) of a live stream of a plane, from the item after `after` to the end; ws, sse or nats.

        Asking for the next says that this one was taken. Breaks are bridged; who stops goes on later with the number
        that it had last.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError: at once. On the way as `transfer.live.follow`.
        """
        if not descriptor.live(time()):
            raise DescriptorExpiredError("This descriptor has expired; ask for another one")
        if descriptor.mode == "stream" and descriptor.protocol == "nats" and self._follow is not None:
            return self._follow(descriptor.endpoint, after)
        if descriptor.mode != "stream" or descriptor.protocol not in ("sse", "ws", "wss"):
            raise UnsupportedProtocolError(f"Nothing here follows {descriptor.protocol} in mode {descriptor.mode}")
        return live.follow(descriptor, self._reach, after)

    async def push(self, descriptor: Descriptor, source: Path, progress: Progress | None = None) -> None:
        """Send a file to the endpoint of a descriptor of mode push, over http, https or s3-presigned.

        Its member `multipart` {part_size, parts: [URL, …], complete: URL} is S3's multipart upload. An upload to one of
        our own bridges goes on where it broke off, also by a later call.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError, UntrustedHostError, TransferInterruptedError,
            TransferError.
        """
        await self._pushes.push(descriptor, source, progress)

    async def push_through(
        self, descriptor: Descriptor, source: Path, output: Path, progress: Progress | None = None
    ) -> None:
        """As `push`, with what the endpoint answers in `output`: the same bytes where that is nothing.

        `compression`, `size_hint` and `checksum` of the descriptor are those of the answer. Of an upload to one of our
        own bridges the output is `{"body_id", "resource_url", "size", "digest"}` in JSON.
        """
        await self._pushes.through(descriptor, source, output, progress)

    def publishes(self, descriptor: Descriptor) -> bool:
        """Whether a push by it makes a body of this plane."""
        return descriptor.mode == "push" and self._pushes.uploads(descriptor)

    async def _source(self, descriptor: Descriptor, allowance: Allowance) -> AsyncGenerator[bytes, None]:
        if descriptor.protocol == "nats":
            source = self._subject(descriptor, allowance)
        elif descriptor.protocol in SOURCES:
            source = SOURCES[descriptor.protocol](descriptor, self._reach, allowance)
        else:
            raise UnsupportedProtocolError(
                f"No handler here knows {descriptor.protocol}; there are: {', '.join(PROTOCOLS)}"
            )
        async with aclosing(source):
            async for piece in source:
                yield piece

    async def _subject(self, descriptor: Descriptor, allowance: Allowance) -> AsyncGenerator[bytes, None]:
        if self._nats is None:
            raise UnsupportedProtocolError("This process has no NATS for presigned subjects")
        async with (
            self._nats.pull(descriptor.endpoint, WHOLE) as incoming,
            aclosing(body_of(incoming, WHOLE)) as pieces,
        ):
            if incoming.size is not None:
                allowance.announce(incoming.size)
            async for piece in pieces:
                yield piece


def _continuable(descriptor: Descriptor) -> bool:
    plain = (descriptor.compression or "none") == "none"
    return plain and bool(descriptor.digest) and SOURCES.get(descriptor.protocol) is http_source
