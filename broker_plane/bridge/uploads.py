"""The upload route: one capability URL an upload, with two dialects of the same offsets (docs/uploads.md).

Requests with `Tus-Resumable` speak tus 1.0; all others HTTP's own words and those of
draft-ietf-httpbis-resumable-upload-12 (`Upload-Offset`, `Upload-Complete`), whose form of a whole is a plain PUT.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing

from starlette.types import Receive, Scope, Send

from broker_plane.bridge.audience import Audiences
from broker_plane.bridge.dates import format_date
from broker_plane.bridge.digests import checked
from broker_plane.bridge.floor import Floor
from broker_plane.bridge.problems import make_problem
from broker_plane.bridge.request import check_coding, headers_of
from broker_plane.bridge.sending import Headers, send_bytes, send_json
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
from broker_plane.errors import UploadError, WireError
from broker_plane.plane.uploads.upload import Upload
from broker_plane.plane.uploads.uploads import NOTHING_SAID, Uploads
from broker_plane.wire.digests import parse_digests
from broker_plane.wire.upload import uploaded

_SILENCE_SECONDS = 30
_ALLOW = "OPTIONS, HEAD, POST, PUT, PATCH, DELETE"
_ASKING = ("OPTIONS", "HEAD")
_BRINGING = ("POST", "PUT", "PATCH")
_TUS_EXTENSIONS = "creation,creation-defer-length,creation-with-upload,expiration,termination"


class UploadRoute:
    """Every method of one upload."""

    def __init__(self, uploads: Uploads, audiences: Audiences) -> None:
        self.uploads = uploads
        self._audiences = audiences
        self._floor = Floor()

    async def answer(self, grant: str, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request for the upload of `grant`."""
        headers = headers_of(scope)
        tus = "tus-resumable" in headers
        if tus and headers["tus-resumable"] != TUS:
            await _refuse(send, 412, f"This bridge speaks tus {TUS}", [("tus-version", TUS)])
            return
        if scope["method"] not in _ALLOW.split(", "):
            await _refuse(send, 405, f"Here is only {_ALLOW}", [("allow", _ALLOW)])
            return
        content = {}
        if scope["method"] in _BRINGING:
            check_coding(headers)
            check_form(headers)
            content = parse_digests(headers.get("content-digest", ""), "content-digest", strict=True)
        who = self._audiences.who(headers)
        upload = await self.uploads.open(grant, who)
        if scope["method"] not in _ASKING and await self._floor.clear(upload.id):
            upload = await self.uploads.open(grant, who)
        turn = _Turn(self.uploads, self._floor, grant, upload, headers, content, tus, scope, receive, send)
        await getattr(turn, scope["method"].lower())()


class _Turn:
    """One request for one upload."""

    def __init__(
        self,
        uploads: Uploads,
        floor: Floor,
        grant: str,
        upload: Upload,
        headers: dict[str, str],
        content: dict[str, str],
        tus: bool,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self._uploads = uploads
        self._floor = floor
        self._grant = grant
        self._upload = upload
        self._headers = headers
        self._content = content
        self._tus = tus
        self._scope = scope
        self._receive = receive
        self._send = send

    async def options(self) -> None:
        """What may be uploaded, and how; in both dialects, because who asks has not said which it speaks."""
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
        """How far it is. One of which nothing is missing any more is completed by this."""
        if self._tus and self._upload.record is None and self._upload.body is None:
            await _refuse(self._send, 404, "", [("tus-resumable", TUS)])
            return
        self._upload = await self._uploads.finish(self._upload)
        await self._say(200 if self._tus else 204)

    async def post(self) -> None:
        """Creation; in tus of an empty upload or with its first bytes, else as PUT."""
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
        await self._say(201)

    async def put(self) -> None:
        """The whole, or with `Upload-Complete: ?0` its beginning; what was there of another attempt is gone."""
        last = is_complete(self._headers, default=True)
        declared = declared_by(self._headers, whole=last)
        self._check_length(0, declared.length)
        self._upload = await self._uploads.begin(self._upload, declared)
        await self._append(0, last=last)
        await self._say(201)

    async def patch(self) -> None:
        """More bytes, at the offset."""
        kind = TUS_TYPE if self._tus else PARTIAL_TYPE
        if self._headers.get("content-type", "").partition(";")[0].strip().lower() != kind:
            await _refuse(self._send, 415, f"A part has the type {kind}", [("accept-patch", kind)])
            return
        at = number_of(self._headers, "upload-offset")
        if at is None:
            raise WireError("Upload-Offset says where the part begins")
        last = not self._tus and is_complete(self._headers, default=False)
        length = number_of(self._headers, "upload-length")
        size = number_of(self._headers, "content-length")
        if last and length is None and size is not None:
            length = at + size
        self._check_length(at, length)
        digests = parse_digests(self._headers.get("repr-digest", ""), "repr-digest", strict=True)
        await self._append(at, last=last, length=length, digests=digests)
        await self._say(204 if self._tus or self._upload.body is None else 200)

    async def delete(self) -> None:
        """Nothing of it is kept."""
        await self._uploads.cancel(self._upload)
        await send_bytes(self._send, 204, self._dialect(), b"")

    def _check_length(self, at: int, length: int | None) -> None:
        """Before the first byte is read: what is announced must fit."""
        size = number_of(self._headers, "content-length") or 0
        if length is not None and at + size > length:
            raise UploadError(f"{size} bytes at {at} are more than the {length} that the upload was said to have")

    async def _append(
        self, at: int, *, last: bool, length: int | None = None, digests: Mapping[str, str] = NOTHING_SAID
    ) -> None:
        with self._floor.hold(self._upload.id):
            async with aclosing(checked(_pieces(self._receive), self._content)) as pieces:
                self._upload = await self._uploads.append(
                    self._upload, at, pieces, last=last, length=length, digests=digests
                )

    async def _say(self, status: int) -> None:
        upload = self._upload
        fields: Headers = [
            ("cache-control", "no-store"),
            ("upload-offset", str(upload.offset)),
            *([("upload-length", str(upload.length))] if upload.length is not None else []),
            *self._dialect(),
        ]
        if status == 201:
            fields.append(("location", self._grant))  # relative to this very URL, wherever a proxy shows it
        if upload.body is None:
            if status == 201:
                await send_json(self._send, status, {"offset": upload.offset}, fields)
            else:
                await send_bytes(self._send, status, fields, b"")
            return
        fields.append(("content-location", f"../data/{await self._uploads.grant(self._grant, upload.body)}"))
        if status == 204 or self._scope["method"] == "HEAD":
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
    """The request's body as it comes.

    Raises:
        WireError: it broke off, or nothing came for a while.
    """
    while True:
        try:
            async with asyncio.timeout(_SILENCE_SECONDS):
                message = await receive()
        except TimeoutError as error:
            raise WireError(f"Nothing came for {_SILENCE_SECONDS} s; go on where the upload is") from error
        if message["type"] != "http.request":
            raise WireError("The request broke off")
        if piece := message.get("body", b""):
            yield piece
        if not message.get("more_body", False):
            return


async def _refuse(send: Send, status: int, detail: str, headers: Headers) -> None:
    problem = make_problem(status, "bad_request", detail, headers=headers)
    await send_bytes(send, problem.status, list(problem.headers), problem.body if detail else b"")
