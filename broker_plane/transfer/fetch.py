"""Fetching by descriptor, and pushing: the one place that knows which handler carries out which protocol."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from time import time
from types import MappingProxyType

import anyio

from broker_plane.errors import DescriptorExpiredError, TransferError, UnsupportedProtocolError
from broker_plane.plane.ports import Puller
from broker_plane.plane.publish import Progress, tell
from broker_plane.plane.pull import body_of
from broker_plane.transfer.checks import checked
from broker_plane.transfer.files import fs_source, sftp_source
from broker_plane.transfer.http import complete_multipart, http_source, posted, put
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.streams import mqtt_source, sse_source, ws_source
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.selector import WHOLE

Source = Callable[[Descriptor, Reach], AsyncGenerator[bytes, None]]
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

_PIECE_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Fetched:
    """A file that is there, whole and verified: `size` in bytes."""

    path: Path
    size: int


class Transfers:
    """Carries out descriptors within `reach`; `nats` pulls presigned subjects. At most `max_bytes` are taken."""

    def __init__(self, reach: Reach, *, max_bytes: int, nats: Puller | None = None) -> None:
        self._reach = reach
        self._max_bytes = max_bytes
        self._nats = nats

    def open(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        """The bytes that the descriptor promises, in pieces. Only a completed iteration is a verified read.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError, UntrustedHostError, ForbiddenPathError: at once.
            WrongSizeError, WrongChecksumError, WrongCompressionError, TooLargeError, RedirectedError, AuthFailedError,
            TransferBrokenError: on the way.
        """
        if not descriptor.live(time()):
            raise DescriptorExpiredError("This descriptor has expired; ask for another one")
        if descriptor.mode not in ("fetch", "stream"):
            raise TransferError(f"A descriptor of mode {descriptor.mode} is not for fetching")
        return checked(self._source(descriptor), descriptor, self._max_bytes)

    async def fetch(self, descriptor: Descriptor, progress: Progress | None = None) -> bytes:
        """The bytes, whole and verified. Raises as `open`."""
        got = bytearray()
        async with aclosing(self.open(descriptor)) as pieces:
            async for piece in pieces:
                got += piece
                await tell(progress, len(got), descriptor.size_hint)
        return bytes(got)

    async def fetch_to(self, descriptor: Descriptor, path: Path, progress: Progress | None = None) -> Fetched:
        """The bytes in a file, which is there only when they are whole and verified. Raises as `open`."""
        return Fetched(path, await self._write(self.open(descriptor), path, progress, descriptor.size_hint))

    async def _write(
        self,
        pieces: AsyncGenerator[bytes, None],
        path: Path,
        progress: Progress | None = None,
        total: int | None = None,
    ) -> int:
        """The size of a file that is there only when all of `pieces` came."""
        part = path.with_name(path.name + ".part")
        size = 0
        try:
            async with aclosing(pieces), await anyio.open_file(part, "wb") as file:
                async for piece in pieces:
                    size += await file.write(piece)
                    await tell(progress, size, total)
        except BaseException:
            part.unlink(missing_ok=True)  # without a turn of the loop: a cancelled task would not get one
            raise
        await anyio.Path(part).replace(path)
        return size

    async def push(self, descriptor: Descriptor, source: Path, progress: Progress | None = None) -> None:
        """Send a file to the endpoint of a descriptor of mode push, over http, https or s3-presigned.

        Its member `multipart` {part_size, parts: [URL, …], complete: URL} is S3's multipart upload.

        Raises:
            DescriptorExpiredError, UnsupportedProtocolError, UntrustedHostError, TransferBrokenError, TransferError.
        """
        if not descriptor.live(time()):
            raise DescriptorExpiredError("This descriptor has expired; ask for another one")
        if descriptor.mode != "push" or descriptor.protocol not in ("http", "https", "s3-presigned"):
            raise UnsupportedProtocolError(f"Nothing here pushes over {descriptor.protocol} in mode {descriptor.mode}")
        size = (await anyio.Path(source).stat()).st_size
        multipart = (descriptor.model_extra or {}).get("multipart")
        if multipart is None:
            await put(descriptor, self._reach, _part(source, 0, size, progress, size), size)
            return
        step, urls, closing = _multipart(multipart, size)
        etags = []
        for number, url in enumerate(urls):
            start, stop = number * step, min(size, (number + 1) * step)
            one = descriptor.model_copy(update={"endpoint": url})
            etags.append(await put(one, self._reach, _part(source, start, stop, progress, size), stop - start))
        await complete_multipart(closing, self._reach, etags, descriptor)

    async def push_through(
        self, descriptor: Descriptor, source: Path, output: Path, progress: Progress | None = None
    ) -> None:
        """As `push` of one request, with what the endpoint answers in `output`: the same bytes where that is nothing.

        `compression`, `size_hint` and `checksum` of the descriptor are those of the answer.
        """
        if not descriptor.live(time()):
            raise DescriptorExpiredError("This descriptor has expired; ask for another one")
        if descriptor.protocol not in ("http", "https", "s3-presigned"):
            raise UnsupportedProtocolError(f"Nothing here pushes over {descriptor.protocol}")
        size = (await anyio.Path(source).stat()).st_size
        answer = posted(descriptor, self._reach, _part(source, 0, size, progress, size), size)
        if await self._write(checked(answer, descriptor, self._max_bytes), output):
            return
        await self._write(_part(source, 0, size, None, size), output)

    async def _source(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        if descriptor.protocol == "nats":
            source = self._subject(descriptor)
        elif descriptor.protocol in SOURCES:
            source = SOURCES[descriptor.protocol](descriptor, self._reach)
        else:
            raise UnsupportedProtocolError(
                f"No handler here knows {descriptor.protocol}; there are: {', '.join(PROTOCOLS)}"
            )
        async with aclosing(source):
            async for piece in source:
                yield piece

    async def _subject(self, descriptor: Descriptor) -> AsyncGenerator[bytes, None]:
        if self._nats is None:
            raise UnsupportedProtocolError("This process has no NATS for presigned subjects")
        async with (
            self._nats.pull(descriptor.endpoint, WHOLE) as incoming,
            aclosing(body_of(incoming, WHOLE)) as pieces,
        ):
            async for piece in pieces:
                yield piece


def _multipart(fields: object, size: int) -> tuple[int, list[str], str]:
    match fields:
        case {"part_size": int(step), "parts": [*urls], "complete": str(closing)} if (
            step > 0 and len(urls) == max(1, -(-size // step)) and all(isinstance(url, str) for url in urls)
        ):
            return step, [str(url) for url in urls], closing
    raise TransferError(
        "multipart is {part_size, parts: [URL, …], complete: URL}, with a part for each part_size bytes"
    )


async def _part(
    path: Path, start: int, stop: int, progress: Progress | None, total: int
) -> AsyncGenerator[bytes, None]:
    async with await anyio.open_file(path, "rb") as file:
        await file.seek(start)
        while start < stop and (piece := await file.read(min(_PIECE_BYTES, stop - start))):
            start += len(piece)
            yield piece
            await tell(progress, start, total)
