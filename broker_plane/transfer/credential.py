"""The credential of a descriptor, added to its requests below the HTTP client: the client logs and repeats URLs."""

from __future__ import annotations

from time import time
from urllib.parse import unquote_plus

import httpx2

from broker_plane.transfer.auth import auth_headers, signed_url
from broker_plane.wire.descriptor import Auth


class CredentialTransport(httpx2.AsyncBaseTransport):
    """Adds the credential below the client, which logs the URLs of its requests and puts them into its errors.

    The header or the parameter of the credential that a request has already is replaced.
    """

    def __init__(self, inner: httpx2.AsyncBaseTransport, auth: Auth) -> None:
        self._inner = inner
        self._auth = auth

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As the inner transport, for the request with the credential."""
        auth = self._auth
        url = str(request.url)
        if auth.type == "query":
            url = signed_url(_without(url, auth.query_param or "token"), auth)
        headers = request.headers.copy()
        headers.update(auth_headers(auth, request.method, url, time()))
        assert isinstance(request.stream, httpx2.AsyncByteStream)  # noqa: S101  # the client is asynchronous
        return await self._inner.handle_async_request(
            httpx2.Request(request.method, url, headers=headers, stream=request.stream, extensions=request.extensions)
        )

    async def aclose(self) -> None:
        """Close the inner transport."""
        await self._inner.aclose()


def _without(url: str, parameter: str) -> str:
    """`url` without a query parameter; the others are kept byte for byte."""
    rest, found, query = url.partition("?")
    kept = [each for each in query.split("&") if unquote_plus(each.partition("=")[0]) != parameter]
    return f"{rest}?{'&'.join(kept)}" if found and kept else rest
