"""How the proxy contacts a server at a URL: its address, redirects within its origin, and the environment's proxy."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable, Mapping
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import httpx2

from broker_plane.client.capped import Expander, in_time, no_cookies
from broker_plane.errors import ConfigError, UpstreamError
from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.proxy.endpoint import LOOPBACK

log = redacted_logger(__name__)

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_PORTS = {"http": 80, "https": 443}


def check_url(upstream: str, credentials: Mapping[str, str]) -> None:
    """Raise ConfigError for an invalid URL, or one over which credentials would be sent in plain text."""
    try:
        parts = urlsplit(upstream)
        there = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        there = False
    if not there:
        raise ConfigError(f"{upstream!r} is not the URL of an MCP server, such as http://127.0.0.1:8000/mcp")
    if credentials and parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigError("--header-env needs an https URL: http sends the credentials in plain text")


def client_for(url: str, timeout: httpx2.Timeout) -> httpx2.AsyncClient:
    """A client for the server at `url`, with the environment's proxy if it applies to that URL.

    Raises:
        ConfigError: this kind of proxy is not supported.
    """
    limits = httpx2.Limits(max_connections=None, max_keepalive_connections=64)
    transport = httpx2.AsyncHTTPTransport(proxy=proxy_of(url), limits=limits)
    # Cookies from one client's answer would be sent with another client's request.
    return httpx2.AsyncClient(transport=transport, timeout=timeout, trust_env=False, cookies=no_cookies())


def proxy_of(url: str) -> str | None:
    """The environment's proxy for an https URL. None for http, where the proxy could read everything.

    Raises:
        ConfigError: this kind of proxy is not supported.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    if host in LOOPBACK or proxy_bypass(host):
        return None
    proxies = getproxies()
    name = parts.scheme if proxies.get(parts.scheme) else "all"
    found = proxies.get(name)
    if not found:
        return None
    found = found if "://" in found else f"http://{found}"
    kind = urlsplit(found).scheme.lower()
    if parts.scheme == "http":
        log.warning("%s_PROXY is not used for %s: over http a proxy reads everything", name.upper(), host)
        return None
    if kind not in ("http", "https"):
        raise ConfigError(
            f"{name.upper()}_PROXY is a {kind} proxy, which is not supported: set HTTPS_PROXY to an http or https "
            f"proxy, or NO_PROXY={host}"
        )
    return found


async def sent(
    client: httpx2.AsyncClient,
    method: str,
    url: str,
    headers: Iterable[tuple[bytes, bytes]],
    content: bytes | None,
    seconds: float,
) -> httpx2.Response:
    """The head of an answer. A redirect within the origin is followed with the same method and body.

    Raises:
        UpstreamError: a redirect leads to another origin, or there are too many. httpx2.TransportError.
    """
    given = list(headers)
    target = httpx2.URL(url)
    for _ in range(_MAX_REDIRECTS + 1):
        request = client.build_request(method, target, headers=given, content=content)
        async with in_time(seconds):
            response = await client.send(request, stream=True)
        location = response.headers.get("location")
        if response.status_code not in _REDIRECTS or not location:
            return response
        await response.aclose()
        target = _followed(target, location, response.status_code, method)
    raise UpstreamError(f"The server at {shown(url)} redirects too often")


def _followed(source: httpx2.URL, location: str, status: int, method: str) -> httpx2.URL:
    try:
        target = source.join(location)
    except (httpx2.InvalidURL, ValueError) as error:
        raise UpstreamError(f"The server at {shown(source)} redirects to an invalid URL") from error
    if _origin(target) != _origin(source):
        raise UpstreamError(
            f"The server at {shown(source)} redirects to another origin, {shown(target)}, which is not followed; "
            "give the proxy that URL if it is the server you mean"
        )
    if status == 303 and method != "GET":
        raise UpstreamError(f"The server at {shown(source)} redirects a {method} with 303, which MCP does not define")
    return target


def _origin(url: httpx2.URL) -> tuple[str, str, int]:
    return url.scheme, url.host.lower(), url.port or _PORTS.get(url.scheme, 0)


def shown(url: object) -> str:
    """A URL without user, password and query, which may be secret."""
    parts = urlsplit(str(url))
    host = parts.netloc.rpartition("@")[2]
    return f"{parts.scheme}://{host}{parts.path}"


def unreachable(url: str, error: Exception) -> str:
    """The message for a failed connection."""
    return f"The server at {shown(url)} cannot be reached ({type(error).__name__}); the next call tries again"


async def decoded(response: httpx2.Response) -> AsyncIterator[bytes]:
    """The decompressed pieces of a body, each of a bounded size.

    Raises:
        WrongCompressionError. httpx2.TransportError.
    """
    coding = response.headers.get("content-encoding", "identity").strip().lower()
    expander = None if coding in ("identity", "") else Expander(coding)
    async for raw in response.aiter_raw():
        for piece in (raw,) if expander is None else expander.expand(raw):
            yield piece
