"""What a bridge answers in short: read under a cap, and its refusals as errors of ours."""

from __future__ import annotations

from base64 import b64decode
from contextlib import suppress
from typing import Any

import httpx2

from broker_plane.client.capped import Answer, ask, read_reason
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, PullError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.presigned import error_of

_LONGEST_RETRY_SECONDS = 3600.0


_BROKE_OFF = ("disconnected", "closed connection")
"""What the client says of an answer that does not come, or not to its end; all else is no HTTP."""


def is_no_http(error: httpx2.TransportError) -> bool:
    """Whether somebody answered, and not as HTTP has it: to ask again is in vain."""
    return isinstance(error, httpx2.RemoteProtocolError) and not any(word in str(error) for word in _BROKE_OFF)


def away(error: httpx2.TransportError) -> BrokerPlaneError:
    """The error for a request that got no answer."""
    if is_no_http(error):
        return PullError("What answers there is no bridge: it does not speak HTTP", reason=repr(error))
    return BrokerUnavailableError("The bridge does not answer; it may be restarting. Try again", reason=repr(error))


async def asked(client: httpx2.AsyncClient, url: str, *, most: int, seconds: float, **request: Any) -> Answer:
    """The answer of a bridge to a POST; its refusals and breaks are raised."""
    try:
        answer = await ask(client, "POST", url, most=most, seconds=seconds, **request)
    except httpx2.TransportError as error:
        raise away(error) from error
    if answer.status != 200:
        raise refusal_of(answer)
    return answer


async def refusal(response: httpx2.Response) -> BrokerPlaneError:
    """As `refusal_of`, of a response whose body was not read yet."""
    try:
        content = await read_reason(response)
    except httpx2.TransportError as error:  # the bridge went away between the head and the reason
        return away(error)
    finally:
        await response.aclose()
    return refusal_of(Answer(response.status_code, response.headers, content))


def refusal_of(answer: Answer) -> BrokerPlaneError:
    """The error that a bridge's problem details name (RFC 9457), or one that says the status."""
    fields: Any = None
    with suppress(*MALFORMED):
        fields = loads(answer.content)
    if not isinstance(fields, dict) or "code" not in fields:
        return PullError(f"The bridge answered {answer.status}, without saying why")
    retry_after = count(answer.headers.get("retry-after", ""))
    return error_of(
        {
            "code": fields["code"],
            "message": fields.get("detail") or fields.get("error"),
            "retry_after": None if retry_after is None else min(float(retry_after), _LONGEST_RETRY_SECONDS),
        }
    )


def count(text: str) -> int | None:
    """The number that a header says; None where it says none that could be meant."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None


def digest_of(header: str) -> str:
    """The SHA-256 of a Repr-Digest (RFC 9530) in hex; empty where there is none."""
    for part in header.split(","):
        name, _, value = part.strip().partition("=")
        if name == "sha-256" and value.startswith(":") and value.endswith(":"):
            with suppress(ValueError):
                return b64decode(value[1:-1], validate=True).hex()
    return ""
