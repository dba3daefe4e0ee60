"""Pushing files by descriptor: one request, S3's multipart upload, or an upload to a bridge of ours, which resumes."""

from __future__ import annotations

from pathlib import Path
from time import time

import anyio
import orjson

from broker_plane.client.upload import Uploader
from broker_plane.errors import (
    DescriptorExpiredError,
    TransferError,
    UnsupportedProtocolError,
    UntrustedHostError,
)
from broker_plane.files.atomic import read, write, write_at_once
from broker_plane.plane.bodies.publish import Progress
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.checks import checked
from broker_plane.transfer.http import complete_multipart, posted, put
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor

_PROTOCOLS = ("http", "https", "s3-presigned")


class Pushes:
    """Pushes within `reach`; with `uploads` those to our own bridges go on after a break."""

    def __init__(self, reach: Reach, *, max_bytes: int, unsized_bytes: int, uploads: Uploader | None) -> None:
        self._reach = reach
        self._max_bytes = max_bytes
        self._unsized_bytes = unsized_bytes
        self._uploads = uploads

    def uploads(self, descriptor: Descriptor) -> bool:
        """Whether the endpoint takes resumable uploads, and makes bodies of them (docs/uploads.md)."""
        if self._uploads is None or descriptor.auth is not None or (descriptor.method or "PUT").upper() != "PUT":
            return False
        try:
            self._reach.trust.check_upload(descriptor.endpoint)
        except UntrustedHostError:
            return False
        return True

    async def push(self, descriptor: Descriptor, source: Path, progress: Progress | None) -> None:
        """The endpoint has all of `source`."""
        _check(descriptor)
        size = (await anyio.Path(source).stat()).st_size
        if self.uploads(descriptor):
            await self._upload(descriptor, source, progress)
        elif (multipart := _multipart(descriptor, size)) is None:
            await put(descriptor, self._reach, read(source, 0, size, progress, size), size)
        else:
            step, urls, closing = multipart
            etags = []
            for number, url in enumerate(urls):
                start, stop = number * step, min(size, (number + 1) * step)
                one = descriptor.model_copy(update={"endpoint": url})
                etags.append(await put(one, self._reach, read(source, start, stop, progress, size), stop - start))
            await complete_multipart(closing, self._reach, etags, descriptor)

    async def through(self, descriptor: Descriptor, source: Path, output: Path, progress: Progress | None) -> None:
        """As `push`, with what the endpoint answers in `output`: the same bytes where that is nothing.

        Of an upload to a bridge of ours it is `{"body_id", "resource_url", "size", "digest"}` in JSON.
        """
        _check(descriptor)
        size = (await anyio.Path(source).stat()).st_size
        if self.uploads(descriptor):
            await write_at_once(output, await self._upload(descriptor, source, progress))
            return
        if _multipart(descriptor, size) is None:
            allowance = Allowance(self._max_bytes, self._unsized_bytes, descriptor.size_hint)
            answer = posted(descriptor, self._reach, read(source, 0, size, progress, size), size, allowance)
            # Apart from the output, which is there only when it is known that the answer is not empty.
            said = anyio.Path(output.with_name(output.name + ".said"))
            if await write(checked(answer, descriptor, allowance), Path(said), keep=True):
                await said.replace(output)
                return
            await said.unlink()
        else:
            await self.push(descriptor, source, progress)
        await write(read(source, 0, size), output, keep=True)

    async def _upload(self, descriptor: Descriptor, source: Path, progress: Progress | None) -> bytes:
        if self._uploads is None:
            raise UnsupportedProtocolError("Nothing here uploads to bridges")
        kind = descriptor.format
        done = await self._uploads.upload(descriptor.endpoint, source, media_type=kind, progress=progress)
        fields = {"body_id": done.body_id, "resource_url": done.resource_url, "size": done.size}
        return orjson.dumps(fields | {"digest": f"sha256:{done.digest}"})


def _check(descriptor: Descriptor) -> None:
    if not descriptor.live(time()):
        raise DescriptorExpiredError("This descriptor has expired; ask for another one")
    if descriptor.mode != "push" or descriptor.protocol not in _PROTOCOLS:
        raise UnsupportedProtocolError(f"Nothing here pushes over {descriptor.protocol} in mode {descriptor.mode}")


def _multipart(descriptor: Descriptor, size: int) -> tuple[int, list[str], str] | None:
    match (descriptor.model_extra or {}).get("multipart"):
        case None:
            return None
        case {"part_size": int(step), "parts": [*urls], "complete": str(closing)} if (
            step > 0 and len(urls) == max(1, -(-size // step)) and all(isinstance(url, str) for url in urls)
        ):
            return step, [str(url) for url in urls], closing
    raise TransferError(
        "multipart is {part_size, parts: [URL, …], complete: URL}, with a part for each part_size bytes"
    )
