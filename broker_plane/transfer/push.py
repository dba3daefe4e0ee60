"""Pushing files by descriptor: one request, S3's multipart upload, or a resumable upload to one of our bridges."""

from __future__ import annotations

from pathlib import Path

import anyio

from broker_plane.client.upload import Uploader
from broker_plane.errors import (
    TransferError,
    UnsupportedProtocolError,
    UntrustedHostError,
)
from broker_plane.files.atomic import read, write, write_at_once
from broker_plane.plane.bodies.publish import Progress
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.checks import check_not_expired, checked
from broker_plane.transfer.handler import Push
from broker_plane.transfer.http import complete_multipart, posted, put
from broker_plane.transfer.reach import Reach
from broker_plane.transfer.registry import HandlerRegistry
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.exact_json import dumps


class Pushes:
    """Pushes with the handlers of `registry` within `reach`; with `uploads`, those to our own bridges are resumable."""

    def __init__(
        self,
        reach: Reach,
        registry: HandlerRegistry,
        *,
        max_bytes: int,
        unsized_bytes: int,
        uploads: Uploader | None,
    ) -> None:
        self._registry = registry
        self._reach = reach
        self._max_bytes = max_bytes
        self._unsized_bytes = unsized_bytes
        self._uploads = uploads

    def uploads(self, descriptor: Descriptor) -> bool:
        """Whether the endpoint is one of our bridges, which takes resumable uploads (docs/uploads.md)."""
        if self._uploads is None or descriptor.auth is not None or (descriptor.method or "PUT").upper() != "PUT":
            return False
        try:
            self._reach.trust.check_upload(descriptor.endpoint)
        except UntrustedHostError:
            return False
        return True

    async def push(self, descriptor: Descriptor, source: Path, progress: Progress | None) -> None:
        """Send all of `source` to the endpoint."""
        send = await self._checked(descriptor)
        size = (await anyio.Path(source).stat()).st_size
        if self.uploads(descriptor):
            await self._upload(descriptor, source, progress)
        elif send is not put or (multipart := _multipart(descriptor, size)) is None:
            await send(descriptor, self._reach, read(source, 0, size, progress, size), size)
        else:
            step, urls, closing = multipart
            etags = []
            for number, url in enumerate(urls):
                start, stop = number * step, min(size, (number + 1) * step)
                one = descriptor.model_copy(update={"endpoint": url})
                etags.append(await put(one, self._reach, read(source, start, stop, progress, size), stop - start))
            await complete_multipart(closing, self._reach, etags, descriptor)

    async def through(self, descriptor: Descriptor, source: Path, output: Path, progress: Progress | None) -> None:
        """As `push`, and write the response to `output`: a copy of `source` if the response is empty.

        For an upload to one of our bridges it is `{"body_id", "resource_url", "size", "digest"}` in JSON.
        """
        send = await self._checked(descriptor)
        size = (await anyio.Path(source).stat()).st_size
        if self.uploads(descriptor):
            await write_at_once(output, await self._upload(descriptor, source, progress))
            return
        if send is put and _multipart(descriptor, size) is None:
            allowance = Allowance(self._max_bytes, self._unsized_bytes, descriptor.size)
            answer = posted(descriptor, self._reach, read(source, 0, size, progress, size), size, allowance)
            # A separate file: the output must not exist before it is known that the response is not empty.
            response = anyio.Path(output.with_name(output.name + ".said"))
            if await write(checked(answer, descriptor, allowance), Path(response), keep=True):
                await response.replace(output)
                return
            await response.unlink()
        else:
            await self.push(descriptor, source, progress)
        await write(read(source, 0, size), output, keep=True)

    async def _checked(self, descriptor: Descriptor) -> Push:
        """What sends a file over the descriptor's protocol."""
        check_not_expired(descriptor)
        await self._registry.ready(descriptor.protocol)
        handler = self._registry.find(descriptor.protocol)
        if descriptor.mode != "push" or handler is None or handler.push is None:
            raise UnsupportedProtocolError(f"Cannot push over {descriptor.protocol} in mode {descriptor.mode}")
        return handler.push

    async def _upload(self, descriptor: Descriptor, source: Path, progress: Progress | None) -> bytes:
        if self._uploads is None:
            raise UnsupportedProtocolError("This process has no uploader for bridges")
        kind = descriptor.format
        done = await self._uploads.upload(descriptor.endpoint, source, media_type=kind, progress=progress)
        fields = {"body_id": done.body_id, "resource_url": done.resource_url, "size": done.size}
        return dumps(fields | {"digest": f"sha256:{done.digest}"})


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
