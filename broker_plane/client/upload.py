"""Resumable uploads over HTTP (draft-ietf-httpbis-resumable-upload-12)."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import anyio
import anyio.to_thread
import httpx2

from broker_plane.client.answers import away, count, refusal_of
from broker_plane.client.capped import ShortResponse, ask, no_cookies
from broker_plane.client.http import bare, verifying
from broker_plane.client.trust import Trust
from broker_plane.errors import BrokerPlaneError, OffsetError, TransferInterruptedError, UploadError
from broker_plane.plane.bodies.publish import Progress, report_progress
from broker_plane.wire.body import BYTES_TYPE
from broker_plane.wire.digests import digest_field, sha256_of
from broker_plane.wire.disposition import check_file_name, disposition_of
from broker_plane.wire.grant import Grant, peek
from broker_plane.wire.names import BodyId

_PIECE_BYTES = 1 << 18
_SMALL_BYTES = 1 << 16
"""Files up to this size are sent in one PUT. For larger ones, a refusal has to arrive before the bytes are sent."""

_LONGEST_WAIT_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Uploaded:
    """A complete upload: `resource_url` is a grant for the body, `digest` its SHA-256 in hex, `size` in bytes.

    `sent` is the number of bytes sent, including repeated ones.
    """

    body_id: BodyId
    resource_url: str
    size: int
    digest: str
    sent: int


class Uploader:
    """Uploads files and bytes. It gives up after `patience` seconds without progress."""

    def __init__(self, trust: Trust, *, timeout: float = 30.0, token: str = "", patience: float = 60.0) -> None:
        self._trust = trust
        self._timeout = timeout
        self._token = token
        self._patience = patience

    async def upload(
        self,
        url: str,
        source: Path | bytes,
        *,
        name: str = "",
        media_type: str = "",
        progress: Progress | None = None,
    ) -> Uploaded:
        """Upload `source` to `url`; an unfinished upload, also of another process, is continued.

        Raises:
            UntrustedHostError: nothing was sent. GrantError, UploadError, TooLargeError: the bridge refused.
            TransferInterruptedError: there was no progress for too long; upload again to continue.
            WireError: `name` is not a valid file name.
        """
        check_file_name(name)
        grant = peek(self._trust.check_upload(url))
        secure = url.strip().lower().startswith("https:")
        async with (
            _opened(source) as file,
            httpx2.AsyncClient(
                verify=verifying() if secure else bare(),
                trust_env=False,
                headers={"Accept-Encoding": "identity", **self._identity(grant, url)},
                cookies=no_cookies(),
                timeout=httpx2.Timeout(self._timeout, connect=min(self._timeout, 10.0)),
            ) as client,
        ):
            about = _about(file, name, media_type or BYTES_TYPE)
            sending = _Sending(client, url.strip(), file, about, progress, 2 * self._timeout)
            await self._until_complete(sending)
            return sending.uploaded()

    async def _until_complete(self, sending: _Sending) -> None:
        reached, since, wait = -1, anyio.current_time(), 0.02
        while not sending.location:
            try:
                await sending.turn()
            except BrokerPlaneError as error:
                if not error.retryable:
                    raise
                if sending.offset > reached:
                    reached, since, wait = sending.offset, anyio.current_time(), 0.02
                elif anyio.current_time() > since + self._patience:
                    raise TransferInterruptedError(
                        f"The upload has been at {max(0, reached)} bytes for {self._patience:.0f} s; try again",
                        reason=repr(error),
                    ) from error
                await anyio.sleep(wait)
                wait = min(2 * wait, _LONGEST_WAIT_SECONDS)

    def _identity(self, grant: Grant, url: str) -> dict[str, str]:
        """As for pulls: the grant can only withhold the token."""
        if not (self._token and grant.scope.audience and self._trust.takes_token(url)):
            return {}
        return {"Authorization": f"Bearer {self._token}"}


@dataclass(frozen=True, slots=True)
class _File:
    """The bytes to upload. `read(offset, size)` returns a part of them."""

    size: int
    digest: str
    read: Callable[[int, int], bytes]


class _Sending:
    """One upload: its offset, and the requests that continue it."""

    def __init__(
        self,
        client: httpx2.AsyncClient,
        url: str,
        file: _File,
        about: dict[str, str],
        progress: Progress | None,
        seconds: float,
    ) -> None:
        self.location = ""
        self.offset = 0
        self.sent = 0
        self._client = client
        self._url = url
        self._file = file
        self._progress = progress
        self._about = about
        self._seconds = seconds

    async def turn(self) -> None:
        """Request the offset, and send the rest.

        Raises:
            BrokerUnavailableError, OffsetError: call it again. Any other error is final.
        """
        answer = await self._ask("HEAD")
        begun = sha256_of(answer.headers.get("repr-digest", "")) == self._file.digest
        self.offset = self._offset(answer) if begun else 0
        if self._take(answer, begun):
            return
        if not begun and self._file.size <= _SMALL_BYTES:
            await self._send("PUT", self._about, complete=True)
            return
        part = {"Content-Type": "application/partial-upload", "Upload-Offset": str(self.offset)}
        if begun:  # an empty part ends an earlier request that is still sending, and reports a changed offset
            await self._ask("PATCH", part | {"Upload-Complete": "?0", "Content-Length": "0"})
        else:
            await self._ask("POST", self._about | {"Upload-Complete": "?0", "Content-Length": "0"})
        await self._send("PATCH", part, complete=True)

    def uploaded(self) -> Uploaded:
        url = urljoin(self._url, self.location)
        return Uploaded(peek(url.rpartition("/")[2]).body, url, self._file.size, self._file.digest, self.sent)

    async def _send(self, method: str, headers: dict[str, str], *, complete: bool) -> None:
        size = self._file.size - self.offset
        headers = headers | {"Upload-Complete": "?1" if complete else "?0", "Content-Length": str(size)}
        self._take(await self._ask(method, headers, self._pieces()), begun=True)

    async def _pieces(self) -> AsyncGenerator[bytes, None]:
        at = self.offset
        while at < self._file.size:
            piece = await anyio.to_thread.run_sync(self._file.read, at, _PIECE_BYTES)
            if not piece:
                raise TransferInterruptedError("The file became shorter during the upload")
            yield piece
            at += len(piece)
            self.sent += len(piece)
            await report_progress(self._progress, at, self._file.size)

    async def _ask(self, method: str, headers: dict[str, str] | None = None, content: Any = None) -> ShortResponse:
        try:
            answer = await self._answer(method, headers, content)
            if answer.status == 409 and "upload-offset" in answer.headers:
                raise OffsetError(expected=self._offset(answer), provided=self.offset)
            if answer.status >= 300:
                if method == "HEAD":  # responses to HEAD have no body
                    answer = await self._answer("OPTIONS")
                raise refusal_of(answer)
        except httpx2.TransportError as error:
            raise away(error) from error
        return answer

    async def _answer(self, method: str, headers: dict[str, str] | None = None, content: Any = None) -> ShortResponse:
        return await ask(self._client, method, self._url, seconds=self._seconds, headers=headers, content=content)

    def _offset(self, answer: ShortResponse) -> int:
        offset = count(answer.headers.get("upload-offset", "0"))
        if offset is None or offset > self._file.size:
            raise UploadError("The bridge has more bytes than the file; upload to another URL")
        return offset

    def _take(self, answer: ShortResponse, begun: bool) -> bool:
        """Whether the response says that this upload is complete; notes where its body is."""
        if begun and answer.headers.get("upload-complete") == "?1":
            self.location = answer.headers.get("content-location", "")
        return bool(self.location)


def _about(file: _File, name: str, media_type: str) -> dict[str, str]:
    """The headers that describe the file."""
    about = {
        "Content-Type": media_type,
        "Repr-Digest": digest_field(file.digest),
        "Upload-Length": str(file.size),
    }
    if name:
        about["Content-Disposition"] = disposition_of(name)
    return about


@asynccontextmanager
async def _opened(source: Path | bytes) -> AsyncIterator[_File]:
    if isinstance(source, bytes):
        yield _File(len(source), hashlib.sha256(source).hexdigest(), lambda at, size: source[at : at + size])
        return
    with source.open("rb") as file:  # opening is fast; reading happens in threads

        def read(at: int, size: int) -> bytes:
            file.seek(at)
            return file.read(size)

        digest = await anyio.to_thread.run_sync(lambda: hashlib.file_digest(file, "sha256").hexdigest())
        yield _File(file.seek(0, 2), digest, read)
