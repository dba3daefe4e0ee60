"""Finds out whether a bridge answers at its base URL, and if not, what is wrong."""

from __future__ import annotations

import ssl
from contextlib import suppress

import httpx2

from broker_plane.client.answers import is_no_http, refusal_of
from broker_plane.client.capped import MAX_REASON_BYTES, ShortResponse, ask, no_cookies
from broker_plane.client.http import bare, verifying
from broker_plane.errors import BrokerPlaneError, WireError

_HEALTH = "/s2sp/health"
"""Below the path that a reverse proxy passes on for the data route."""


async def bridge_problem(url: str, *, seconds: float, advice: str) -> str:
    """What is wrong with the bridge at the base URL `url`; empty if it answers. `advice` says what to do."""
    verify = verifying() if url.lower().startswith("https:") else bare()
    try:
        async with httpx2.AsyncClient(
            verify=verify, trust_env=False, cookies=no_cookies(), timeout=httpx2.Timeout(seconds)
        ) as client:
            answer = await ask(client, "GET", url.rstrip("/") + _HEALTH, most=MAX_REASON_BYTES, seconds=seconds)
    except httpx2.TransportError as error:
        return f"The bridge at {url} {_why(error, seconds)}: {advice}"
    except (httpx2.InvalidURL, BrokerPlaneError) as error:
        return f"The bridge at {url} was not reached ({error}): {advice}"
    return "" if _is_healthy(answer) else f"{url} answers {_what(answer)}: {advice}"


def _is_healthy(answer: ShortResponse) -> bool:
    with suppress(WireError):
        return answer.status == 200 and answer.json() == {"status": "ok"}
    return False


def _what(answer: ShortResponse) -> str:
    """The answer of something that is no bridge, or of a bridge that refuses."""
    said = refusal_of(answer)
    if answer.status < 400 or said.code == "pull_failed":
        return f"{answer.status} and is not a bridge"
    return f"{answer.status} ({said})"


def _why(error: httpx2.TransportError, seconds: float) -> str:
    if isinstance(error, httpx2.TimeoutException):
        return f"does not answer within {seconds:g} s"
    causes = _causes(error)
    for cause in causes:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"has a certificate that is not trusted here ({cause.verify_message}; SSL_CERT_FILE names its CA)"
    if is_no_http(error) or any(isinstance(cause, ssl.SSLError) for cause in causes):
        return "is not a bridge: it does not speak this protocol"
    first = causes[-1]
    if isinstance(first, ConnectionRefusedError):
        return "does not answer: nothing listens there"
    return f"cannot be reached ({first.strerror if isinstance(first, OSError) and first.strerror else first})"


def _causes(error: BaseException) -> list[BaseException]:
    """`error` and what caused it, the first cause last."""
    found = [error]
    while (cause := found[-1].__cause__ or found[-1].__context__) is not None and cause not in found:
        found.append(cause)
    return found
