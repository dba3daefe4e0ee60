"""The upload route: one presigned URL per upload, with two dialects for the same offsets.

Requests with `Tus-Resumable` use tus 1.0. All others use plain HTTP and draft-ietf-httpbis-resumable-upload-12
(`Upload-Offset`, `Upload-Complete`), in which a plain PUT uploads everything at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.access import RequestAccess, grant_of
from broker_plane.bridge.upload_headers import (
    PARTIAL_TYPE,
    TUS,
    TUS_TYPE,
    check_form,
    declared_by,
    is_complete,
    metadata_of,
    number_of,
    repr_digest,
    tus_declared_by,
)
from broker_plane.bridge.upload_lock import UploadLock
from broker_plane.errors import UploadError, WireError
from broker_plane.plane.uploads.upload import Upload
from broker_plane.plane.uploads.uploads import NOTHING_SAID, Uploads
from broker_plane.web.dates import format_date
from broker_plane.web.digests import checked
from broker_plane.web.problems import make_problem, methods_text
from broker_plane.web.request import check_coding, headers_of
from broker_plane.web.sending import Headers, send_bytes, send_json
from broker_plane.wire.digests import parse_digests
from broker_plane.wire.upload import METHODS, uploaded

_SILENCE_SECONDS = 30
_READING = ("OPTIONS", "HEAD")
_WRITING = ("POST", "PUT", "PATCH")
_ALLOW = ", ".join(METHODS)
_TUS_EXTENSIONS = "creation,creation-defer-length,creation-with-upload,expiration,termination"


class UploadRoute:
    """Every method of an upload."""

    def __init__(self, uploads: Uploads, access: RequestAccess) -> None:
        self._uploads = uploads
        self._access = access
        self._lock = UploadLock()

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request. An unsupported version of tus is reported before an unsupported method."""
        headers, method, grant = headers_of(scope), scope["method"], grant_of(scope)
        if headers.get("tus-resumable", TUS) != TUS:
            await _refuse(send, 412, f"This bridge supports tus {TUS}", [("tus-version", TUS)])
            return
        if method not in METHODS:
            await _refuse(send, 405, f"Method not allowed; use {methods_text(_ALLOW)}", [("allow", _ALLOW)])
            return
        content = {}
        if method in _WRITING:
            check_coding(headers)
            check_form(headers)
            content = parse_digests(headers.get("content-digest", ""), "content-digest", strict=True)
        who = self._access.who(scope)
        upload = await self._uploads.open(grant, who)
        if method not in _READING and await self._lock.interrupt(upload.id):
            upload = await self._uploads.open(grant, who)
        request = _Request(grant, upload, headers, content, scope, receive, send)
        await getattr(_UploadRequest(self._uploads, self._lock, request), method.lower())()


@dataclass(frozen=True, slots=True)
class _Request:
    """A parsed request; `content` has the digests of its body."""

    grant: str
    upload: Upload
    headers: dict[str, str]
    content: dict[str, str]
    scope: Scope
    receive: Receive
    send: Send


class _UploadRequest:
    """Answers one request for one upload, with a method for each HTTP method."""

    def __init__(self, uploads: Uploads, lock: UploadLock, request: _Request) -> None:
        self._uploads = uploads
        self._lock = lock
        self._request = request
        self._upload = request.upload
        self._headers = request.headers
        self._send = request.send
        self._tus = "tus-resumable" in request.headers

    async def options(self) -> None:
        """What may be uploaded, and how; in both dialects, because the client has not chosen one yet."""
        most = self._upload.most
        fields = [
            ("allow", _ALLOW),
            ("accept-patch", f"{PARTIAL_TYPE}, {TUS_TYPE}"),
            ("upload-limit", f"max-size={most}"),
            ("tus-resumable", TUS),
            ("tus-version", TUS),
            ("tus-extension", _TUS_EXTENSIONS),
            ("tus-max-size", str(most)),
        ]
        await send_bytes(self._send, 204, fields, b"")

    async def head(self) -> None:
        """The offset. An upload whose bytes are all stored is completed by this."""
        if self._tus and self._upload.record is None and self._upload.body is None:
            await _refuse(self._send, 404, "", [("tus-resumable", TUS)])
            return
        self._upload = await self._uploads.finish(self._upload)
        await self._report(200 if self._tus else 204)

    async def post(self) -> None:
        """Creation: with tus, of an empty upload or with its first bytes; otherwise like PUT."""
        if not self._tus:
            await self.put()
            return
        declared = tus_declared_by(self._headers)
        self._check_length(0, declared.length)
        record = self._upload.record
        if self._upload.body is None and (record is None or record.length != declared.length):
            self._upload = await self._uploads.begin(self._upload, declared)
        if self._headers.get("content-type") == TUS_TYPE:
            await self._append(self._upload.offset, last=False)
        else:
            self._upload = await self._uploads.finish(self._upload)
        await self._report(201)

    async def put(self) -> None:
        """All bytes, or the first ones with `Upload-Complete: ?0`; bytes of an earlier attempt are dropped."""
        last = is_complete(self._headers, default=True)
        declared = declared_by(self._headers, whole=last)
        self._check_length(0, declared.length)
        self._upload = await self._uploads.begin(self._upload, declared)
        await self._append(0, last=last)
        await self._report(201)

    async def patch(self) -> None:
        """More bytes, at the offset."""
        kind = TUS_TYPE if self._tus else PARTIAL_TYPE
        if self._headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
            await _refuse(self._send, 415, f"A part must have the type {kind}", [("accept-patch", kind)])
            return
        at = number_of(self._headers, "upload-offset")
        if at is None:
            raise WireError("Upload-Offset is required: the offset at which the part begins")
        last = not self._tus and is_complete(self._headers, default=False)
        length = number_of(self._headers, "upload-length")
        size = number_of(self._headers, "content-length")
        if last and length is None and size is not None:
            length = at + size
        self._check_length(at, length)
        digests = parse_digests(self._headers.get("repr-digest", ""), "repr-digest", strict=True)
        await self._append(at, last=last, length=length, digests=digests)
        await self._report(204 if self._tus or self._upload.body is None else 200)

    async def delete(self) -> None:
        """Delete the upload and its bytes."""
        await self._uploads.cancel(self._upload)
        await send_bytes(self._send, 204, self._dialect(), b"")

    def _check_length(self, at: int, length: int | None) -> None:
        """Refuse too large a part before its first byte is read."""
        size = number_of(self._headers, "content-length") or 0
        if length is not None and at + size > length:
            raise UploadError(f"The upload declared {length} bytes, but this part would end at {at + size}")

    async def _append(
        self, at: int, *, last: bool, length: int | None = None, digests: Mapping[str, str] = NOTHING_SAID
    ) -> None:
        with self._lock.hold(self._upload.id):
            async with aclosing(checked(_pieces(self._request.receive), self._request.content)) as pieces:
                self._upload = await self._uploads.append(
                    self._upload, at, pieces, last=last, length=length, digests=digests
                )

    async def _report(self, status: int) -> None:
        upload = self._upload
        fields: Headers = [
            ("cache-control", "no-store"),
            ("upload-offset", str(upload.offset)),
            *([("upload-length", str(upload.length))] if upload.length is not None else []),
            *self._dialect(),
        ]
        if status == 201:
            fields.append(("location", self._request.grant))  # relative to this URL, whatever a proxy made of it
        if upload.body is None:
            if status == 201:
                await send_json(self._send, status, {"offset": upload.offset}, fields)
            else:
                await send_bytes(self._send, status, fields, b"")
            return
        fields.append(("content-location", f"../data/{await self._uploads.grant(self._request.grant, upload.body)}"))
        if status == 204 or self._request.scope["method"] == "HEAD":
            await send_bytes(self._send, status, fields, b"")
        else:
            await send_json(self._send, status, uploaded(upload.body), fields)

    def _dialect(self) -> Headers:
        upload = self._upload
        if not self._tus:
            left = [("upload-limit", f"max-size={upload.most}")] if upload.body is None else []
            digest = upload.body.digest if upload.body else upload.record.digest if upload.record else ""
            return [("upload-complete", "?1" if upload.body else "?0"), *left, *repr_digest(digest)]
        fields = [("tus-resumable", TUS), ("upload-expires", format_date(upload.expires))]
        if upload.record is not None:
            fields.append(("upload-metadata", metadata_of(upload.record)))
        return fields if upload.length is not None else [*fields, ("upload-defer-length", "1")]


async def _pieces(receive: Receive) -> AsyncGenerator[bytes, None]:
    """The request's body as it arrives.

    Raises:
        WireError: the request ended early, or nothing arrived for a while.
    """
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await receive()
        except TimeoutError as error:
            raise WireError(f"No bytes arrived for {_SILENCE_SECONDS} s; resume at the offset of the upload") from error
        if message["type"] != "http.request":
            raise WireError("The request ended before its body was complete")
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return


async def _refuse(send: Send, status: int, detail: str, headers: Headers) -> None:
    problem = make_problem(status, "bad_request", detail, headers=headers)
    await send_bytes(send, problem.status, list(problem.headers), problem.body if detail else b"")
