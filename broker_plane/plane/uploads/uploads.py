"""Uploads: bytes come in by requests that may break, and become a body (docs/uploads.md).

An offset is that of acknowledged chunks: what the broker has on disk says how far an upload is, and nothing else does.
So it goes on after a killed client, bridge or nats-server, at any bridge; what was not acknowledged is sent again.
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
from broker_plane.plane.ports import BodyStore, GrantStates
from broker_plane.plane.retry import patiently
from broker_plane.plane.uploads.upload import Parts, Reached, Taking, Upload, too_large
from broker_plane.wire.body import BYTES_TYPE, BodyInfo, check_name, runs_of
from broker_plane.wire.grant import Kind
from broker_plane.wire.upload import UploadRecord, unpack_record, upload_key

_REMEMBER_SECONDS = 120
_UNDO_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """What whoever uploads says beforehand; `length` in bytes, `digest` SHA-256 and `digest512` SHA-512 in hex."""

    length: int | None = None
    media_type: str = ""
    name: str = ""
    digest: str = ""
    digest512: str = ""


NOTHING_SAID: Mapping[str, str] = MappingProxyType({})


class Uploads:
    """The rules of uploads over the ports `parts` and `records`; `max_bytes` is the most of any body."""

    def __init__(
        self,
        grants: Grants,
        store: BodyStore,
        parts: Parts,
        records: GrantStates,
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
        """The upload that the grant is for, as far as it is.

        Raises:
            GrantError: as `Grants.open`. ForbiddenError: it is for no upload.
            BodyNotFoundError: it became a body, which was deleted.
        """
        opened = await self._grants.open(text, who)
        scope = opened.grant.scope
        if opened.grant.kind is not Kind.UPLOAD or not scope.shows_all:
            raise ForbiddenError("This grant is for no upload; ask for one with `broker-plane upload-grant`")
        most = self._max_bytes if scope.bytes is None else min(scope.bytes, self._max_bytes)
        upload = Upload(opened=opened, most=most)
        with suppress(BodyNotFoundError):
            return replace(upload, body=await self._store.info(upload.owner, upload.id))
        if await self._grants.ledger.deleted(upload.id):
            raise BodyNotFoundError("What was uploaded here was deleted")
        raw, revision = await self._records.load(upload_key(upload.id))
        if raw is None:
            return replace(upload, revision=revision)
        reached = await self._parts.reached(upload.owner, upload.id)
        return replace(upload, record=unpack_record(raw), revision=revision, reached=reached)

    async def begin(self, upload: Upload, declared: Declared) -> Upload:
        """An upload of what is `declared`, from its first byte; what was there of another attempt is gone.

        Raises:
            UploadCompleteError, TooLargeError, UnsupportedTypeError, ChecksumError: it is not begun.
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
        return await self._save(replace(upload, reached=Reached()), record)

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
        """Take `pieces`, which begin at the offset `at`; complete the upload where they are the `last`.

        What came is kept where they break off. `length` is the whole's, where it was not known before, and so are
        `digests`, in hex by the names of RFC 9530.

        Raises:
            UploadNotFoundError, OffsetError, UploadCompleteError, UploadError, TooLargeError, ChecksumError,
            ConflictError.
            ContentDigestError: as `pieces` raise it; nothing of them is kept.
        """
        if upload.body is not None:
            raise UploadCompleteError("This upload is complete; what was uploaded never changes")
        if upload.record is None:
            raise UploadNotFoundError("Nothing was begun here; create the upload first")
        if at != upload.offset:
            raise OffsetError(expected=upload.offset, provided=at)
        if length is not None:
            upload = await self._lengthen(upload, length)
        if digests:
            upload = await self._promised(upload, digests)
        taking = Taking(self._parts, upload)
        try:
            async for piece in pieces:
                await taking.take(piece)
                self.bytes_in += len(piece)
        except ContentDigestError:
            await asyncio.shield(patiently(taking.undo, _UNDO_SECONDS))
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
            raise UploadError(f"The upload was said to have {upload.length} bytes, and ends at {offset}")
        if not last and offset != upload.length:
            await taking.keep(strictly=True)
            return replace(upload, reached=taking.reached)
        if upload.length is None:
            # Known from here on: who asks after a crash learns that nothing is missing.
            upload = await self._lengthen(upload, offset)
        await taking.close()
        return await self.finish(replace(upload, reached=taking.reached))

    async def finish(self, upload: Upload) -> Upload:
        """The upload, complete where all of its bytes are there.

        Raises:
            ChecksumError: they are not those that were asked for; nothing is kept.
            BodyLostError: some are gone; nothing is kept.
        """
        record = upload.record
        if upload.body is not None or record is None or record.length != upload.reached.offset:
            return upload
        if upload.reached.tail:  # what a request left that broke off after the last byte
            taking = Taking(self._parts, upload)
            await taking.close()
        body, digest512 = await self._assemble(upload, record)
        wanted = {upload.opened.grant.scope.digest, record.digest or None} - {None, body.digest}
        if wanted or record.digest512 not in ("", digest512):
            await self._cancel(upload)
            raise ChecksumError("What was uploaded has another digest than was asked for; nothing of it was kept")
        try:
            await self._parts.commit(body)
        except ConflictError:  # another request was faster
            body = await self._store.info(upload.owner, upload.id)
        self.complete += 1
        self._grants.audit.note("uploaded", upload.opened.grant, upload.opened.who, bytes=body.size)
        return replace(upload, body=body)

    async def cancel(self, upload: Upload) -> None:
        """Nothing of the upload is kept; it may be begun again.

        Raises:
            UploadCompleteError: it is a body now.
        """
        if upload.body is not None:
            raise UploadCompleteError("This upload is complete; delete the body instead")
        await self._cancel(upload)

    async def grant(self, text: str, body: BodyInfo) -> str:
        """The grant for the body that the upload of `text` became."""
        return await self._grants.mint_uploaded(text, body)

    def _check(self, upload: Upload, declared: Declared) -> None:
        scope = upload.opened.grant.scope
        if upload.body is not None:
            raise UploadCompleteError("This upload is complete; what was uploaded never changes")
        if declared.length is not None and declared.length > upload.most:
            raise too_large(upload.most)
        kind = (declared.media_type or BYTES_TYPE).partition(";")[0].strip().lower()
        if scope.formats is not None and kind not in scope.formats:
            wanted = " or ".join(scope.formats) or "no type"
            raise UnsupportedTypeError(f"This upload is for {wanted}, and not for {kind}")
        if scope.digest is not None and declared.digest and declared.digest != scope.digest:
            raise ChecksumError("This upload is for bytes of another SHA-256 than was said")

    async def _lengthen(self, upload: Upload, length: int) -> Upload:
        record = upload.record
        if record is None or record.length == length:
            return upload
        if record.length is not None or length < upload.offset:
            raise UploadError(f"The upload was said to have {record.length or upload.offset} bytes, and now {length}")
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
            raise ChecksumError("The upload was begun with another digest; cancel it, and begin again")
        return await self._save(upload, msgspec.structs.replace(record, **new)) if new else upload

    async def _save(self, upload: Upload, record: UploadRecord) -> Upload:
        seconds = ceil(upload.opened.grant.remembered_until - self._now()) + _REMEMBER_SECONDS
        revision = await self._records.save(upload_key(upload.id), record.pack(), upload.revision, max(1, seconds))
        return replace(upload, record=record, revision=revision)

    async def _assemble(self, upload: Upload, record: UploadRecord) -> tuple[BodyInfo, str]:
        """The body that the chunks are, and its SHA-512 where that was said.

        All of the chunks are read, so what is committed is what is stored.
        """
        places: list[int] = []
        digest = RunningDigest()
        digest512 = RunningDigest("sha512") if record.digest512 else None
        size = 0
        async with aclosing(self._parts.chunks(upload.owner, upload.id)) as chunks:
            async for place, chunk in chunks:
                if size % record.chunk_bytes:  # a short one before the last
                    break
                await digest.add(chunk)
                if digest512 is not None:
                    await digest512.add(chunk)
                size += len(chunk)
                places.append(place)
        if size != record.length:
            await self._cancel(upload)
            raise BodyLostError("The store has lost some of what was uploaded; upload it again")
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
            # As if it was never begun; an entry cannot be deleted there, and this one is forgotten in a second.
            await self._records.save(upload_key(upload.id), b"", upload.revision, 1)
