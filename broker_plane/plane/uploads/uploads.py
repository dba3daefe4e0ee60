"""Uploads: bytes arrive in requests that may break, and become a body (docs/uploads.md).

The offset is derived from acknowledged chunks: only what the broker has stored says how far an upload is. So an upload
can be resumed after the client, the bridge or nats-server was killed, at any bridge; unacknowledged bytes are sent
again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import aclosing, suppress
from dataclasses import dataclass, replace
from math import ceil
from types import MappingProxyType

import msgspec

from broker_plane.errors import (
    BodyLostError,
    BodyNotFoundError,
    BrokerPlaneError,
    ChecksumError,
    ConflictError,
    ContentDigestError,
    ForbiddenError,
    OffsetError,
    TooLargeError,
    UnsupportedTypeError,
    UploadCompleteError,
    UploadError,
    UploadNotFoundError,
)
from broker_plane.plane.bodies.digest import RunningDigest
from broker_plane.plane.grants.grants import Grants
from broker_plane.plane.ports import BodyStore, EntryStore
from broker_plane.plane.retry import retry_while_retryable
from broker_plane.plane.uploads.upload import (
    PartialUploadStore,
    Upload,
    UploadProgress,
    UploadWriter,
    too_large,
)
from broker_plane.wire.body import BYTES_TYPE, BodyInfo, check_name, runs_of
from broker_plane.wire.grant import Kind
from broker_plane.wire.upload import UploadRecord, unpack_record, upload_key

_REMEMBER_SECONDS = 120
_UNDO_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class UploadDeclaration:
    """What the client declares in advance; `length` in bytes, `digest` SHA-256 and `digest512` SHA-512 in hex."""

    length: int | None = None
    media_type: str = ""
    name: str = ""
    digest: str = ""
    digest512: str = ""


NOTHING_SAID: Mapping[str, str] = MappingProxyType({})


class Uploads:
    """The rules of uploads over the ports `parts` and `records`; `max_bytes` is the maximum of any body."""

    def __init__(
        self,
        grants: Grants,
        store: BodyStore,
        parts: PartialUploadStore,
        records: EntryStore,
        *,
        now: Callable[[], float],
        max_bytes: int,
    ) -> None:
        self.complete = 0
        self.bytes_in = 0
        self._grants = grants
        self._store = store
        self._parts = parts
        self._records = records
        self._now = now
        self._max_bytes = max_bytes

    async def open(self, text: str, who: str = "") -> Upload:
        """The upload that the grant is for, with its progress.

        Raises:
            GrantError: as `Grants.open`. ForbiddenError: the grant is not for an upload.
            BodyNotFoundError: it became a body, which was deleted.
        """
        opened = await self._grants.open(text, who)
        scope = opened.grant.scope
        if opened.grant.kind is not Kind.UPLOAD or not scope.shows_all:
            raise ForbiddenError("This grant is not for an upload; get one with `broker-plane upload-grant`")
        most = self._max_bytes if scope.bytes is None else min(scope.bytes, self._max_bytes)
        upload = Upload(opened=opened, most=most)
        with suppress(BodyNotFoundError):
            return replace(upload, body=await self._store.info(upload.owner, upload.id))
        if await self._grants.deletions.deleted(upload.id):
            raise BodyNotFoundError("The uploaded body was deleted")
        raw, revision = await self._records.load(upload_key(upload.id))
        if raw is None:
            return replace(upload, revision=revision)
        reached = await self._parts.reached(upload.owner, upload.id)
        return replace(upload, record=unpack_record(raw), revision=revision, reached=reached)

    async def begin(self, upload: Upload, declared: UploadDeclaration) -> Upload:
        """Start an upload of what is `declared` from its first byte; bytes of an earlier attempt are deleted.

        Raises:
            UploadCompleteError, TooLargeError, UnsupportedTypeError, ChecksumError: it was not started.
        """
        self._check(upload, declared)
        check_name(declared.name, declared.media_type)
        await self._parts.prepare(upload.owner)
        if upload.record is not None:
            await self._parts.free(upload.owner, upload.id)
        record = UploadRecord(
            created=self._now(),
            chunk_bytes=self._parts.chunk_bytes,
            length=declared.length,
            media_type=declared.media_type or BYTES_TYPE,
            name=declared.name,
            digest=declared.digest,
            digest512=declared.digest512,
        )
        return await self._save(replace(upload, reached=UploadProgress()), record)

    async def append(
        self,
        upload: Upload,
        at: int,
        pieces: AsyncIterator[bytes],
        *,
        last: bool,
        length: int | None = None,
        digests: Mapping[str, str] = NOTHING_SAID,
    ) -> Upload:
        """Append `pieces`, which start at the offset `at`; complete the upload if they are the `last`.

        If they break off, the received bytes are kept. `length` is the length of the whole upload, if it was unknown
        before, and `digests` are its digests, in hex by the names of RFC 9530.

        Raises:
            UploadNotFoundError, OffsetError, UploadCompleteError, UploadError, TooLargeError, ChecksumError,
            ConflictError.
            ContentDigestError: as `pieces` raise it; none of them are kept.
        """
        if upload.body is not None:
            raise UploadCompleteError("This upload is complete and cannot be changed")
        if upload.record is None:
            raise UploadNotFoundError("No upload was started here; create it first")
        if at != upload.offset:
            raise OffsetError(expected=upload.offset, provided=at)
        if length is not None:
            upload = await self._lengthen(upload, length)
        if digests:
            upload = await self._promised(upload, digests)
        taking = UploadWriter(self._parts, upload)
        try:
            async for piece in pieces:
                await taking.take(piece)
                self.bytes_in += len(piece)
        except ContentDigestError:
            await asyncio.shield(retry_while_retryable(taking.undo, _UNDO_SECONDS))
            raise
        except BrokerPlaneError as error:
            if not isinstance(error, (TooLargeError, ConflictError)):
                await taking.keep()
            raise
        except BaseException:
            await asyncio.shield(taking.keep())
            raise
        offset = taking.offset
        if last and upload.length not in (None, offset):
            await taking.keep()
            raise UploadError(f"The upload declared {upload.length} bytes but ended after {offset}")
        if not last and offset != upload.length:
            await taking.keep(strictly=True)
            return replace(upload, reached=taking.reached)
        if upload.length is None:
            # Recorded from here on: a client that asks after a crash learns that nothing is missing.
            upload = await self._lengthen(upload, offset)
        await taking.close()
        return await self.finish(replace(upload, reached=taking.reached))

    async def finish(self, upload: Upload) -> Upload:
        """Complete the upload if all of its bytes are stored.

        Raises:
            ChecksumError: they do not match the declared digest; nothing is kept.
            BodyLostError: some are lost; nothing is kept.
        """
        record = upload.record
        if upload.body is not None or record is None or record.length != upload.reached.offset:
            return upload
        if upload.reached.tail:  # left by a request that broke off after the last byte
            taking = UploadWriter(self._parts, upload)
            await taking.close()
        body, digest512 = await self._assemble(upload, record)
        wanted = {upload.opened.grant.scope.digest, record.digest or None} - {None, body.digest}
        if wanted or record.digest512 not in ("", digest512):
            await self._cancel(upload)
            raise ChecksumError("The uploaded bytes do not match the declared digest; nothing of them was kept")
        try:
            await self._parts.commit(body)
        except ConflictError:  # another request was faster
            body = await self._store.info(upload.owner, upload.id)
        self.complete += 1
        self._grants.audit.note("uploaded", upload.opened.grant, upload.opened.who, bytes=body.size)
        return replace(upload, body=body)

    async def cancel(self, upload: Upload) -> None:
        """Delete everything of the upload; it may be started again.

        Raises:
            UploadCompleteError: it has become a body.
        """
        if upload.body is not None:
            raise UploadCompleteError("This upload is complete; delete the body instead")
        await self._cancel(upload)

    async def grant(self, text: str, body: BodyInfo) -> str:
        """The grant for the body that the upload of `text` became."""
        return await self._grants.mint_uploaded(text, body)

    def _check(self, upload: Upload, declared: UploadDeclaration) -> None:
        scope = upload.opened.grant.scope
        if upload.body is not None:
            raise UploadCompleteError("This upload is complete and cannot be changed")
        if declared.length is not None and declared.length > upload.most:
            raise too_large(upload.most)
        kind = (declared.media_type or BYTES_TYPE).partition(";")[0].strip().lower()
        if scope.formats is not None and kind not in scope.formats:
            wanted = " or ".join(scope.formats) or "no type"
            raise UnsupportedTypeError(f"This upload is for {wanted}, not for {kind}")
        if scope.digest is not None and declared.digest and declared.digest != scope.digest:
            raise ChecksumError("This upload is for bytes with another SHA-256 than declared")

    async def _lengthen(self, upload: Upload, length: int) -> Upload:
        record = upload.record
        if record is None or record.length == length:
            return upload
        if record.length is not None or length < upload.offset:
            raise UploadError(f"The upload declared {record.length or upload.offset} bytes, and now {length}")
        if length > upload.most:
            raise too_large(upload.most)
        return await self._save(upload, msgspec.structs.replace(record, length=length))

    async def _promised(self, upload: Upload, digests: Mapping[str, str]) -> Upload:
        record = upload.record
        if record is None:
            return upload
        said = {"digest": digests.get("sha-256", ""), "digest512": digests.get("sha-512", "")}
        new = {name: value for name, value in said.items() if value and value != getattr(record, name)}
        if any(getattr(record, name) for name in new):
            raise ChecksumError("The upload was started with another digest; cancel it, and start again")
        return await self._save(upload, msgspec.structs.replace(record, **new)) if new else upload

    async def _save(self, upload: Upload, record: UploadRecord) -> Upload:
        seconds = ceil(upload.opened.grant.remembered_until - self._now()) + _REMEMBER_SECONDS
        revision = await self._records.save(upload_key(upload.id), record.pack(), upload.revision, max(1, seconds))
        return replace(upload, record=record, revision=revision)

    async def _assemble(self, upload: Upload, record: UploadRecord) -> tuple[BodyInfo, str]:
        """The body made of the chunks, and its SHA-512 if one was declared.

        All chunks are read, so that exactly what is stored is committed.
        """
        places: list[int] = []
        digest = RunningDigest()
        digest512 = RunningDigest("sha512") if record.digest512 else None
        size = 0
        async with aclosing(self._parts.chunks(upload.owner, upload.id)) as chunks:
            async for place, chunk in chunks:
                if size % record.chunk_bytes:  # a short chunk before the last
                    break
                await digest.add(chunk)
                if digest512 is not None:
                    await digest512.add(chunk)
                size += len(chunk)
                places.append(place)
        if size != record.length:
            await self._cancel(upload)
            raise BodyLostError("The store has lost some of the uploaded bytes; upload them again")
        body = BodyInfo(
            id=upload.id,
            owner=upload.owner,
            kind="bytes",
            size=size,
            digest=await digest.hexdigest(),
            media_type=record.media_type,
            name=record.name,
            created=record.created,
            expires=upload.opened.grant.remembered_until,
            chunks=len(places),
            chunk_bytes=max(1, size) if len(places) <= 1 else record.chunk_bytes,
            runs=runs_of(places),
        )
        return body, await digest512.hexdigest() if digest512 is not None else ""

    async def _cancel(self, upload: Upload) -> None:
        await self._parts.free(upload.owner, upload.id)
        if upload.record is not None:
            # As if it had never been started. Entries cannot be deleted there; this one expires in a second.
            await self._records.save(upload_key(upload.id), b"", upload.revision, 1)
