"""Short responses of a bridge: read under a limit, with its refusals as our errors."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import httpx2

from broker_plane.client.capped import ShortResponse, ask, read_reason
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, PullError
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.presigned_errors import error_of_fields

_LONGEST_RETRY_SECONDS = 3600.0


_BROKE_OFF = ("disconnected", "closed connection")
"""Words of the client's messages about a response that is missing or cut off; other messages mean invalid HTTP."""


def is_no_http(error: httpx2.TransportError) -> bool:
    """Whether the response is not HTTP, so that a retry is useless."""
    return isinstance(error, httpx2.RemoteProtocolError) and not any(word in str(error) for word in _BROKE_OFF)


def away(error: httpx2.TransportError) -> BrokerPlaneError:
    """The error for a request without a response."""
    if is_no_http(error):
        return PullError("The server at this address is not a bridge: it does not speak HTTP", reason=repr(error))
    return BrokerUnavailableError("The bridge does not answer; it may be restarting. Try again", reason=repr(error))


async def asked(client: httpx2.AsyncClient, url: str, *, most: int, seconds: float, **request: Any) -> ShortResponse:
    """The response of a bridge to a POST; refusals and connection errors are raised."""
    try:
        answer = await ask(client, "POST", url, most=most, seconds=seconds, **request)
    except httpx2.TransportError as error:
        raise away(error) from error
    if answer.status != 200:
        raise refusal_of(answer)
    return answer


async def refusal(response: httpx2.Response) -> BrokerPlaneError:
    """As `refusal_of`, for a response whose body has not been read."""
    try:
        content = await read_reason(response)
    except httpx2.TransportError as error:  # the connection broke between the head and the body
        return away(error)
    finally:
        await response.aclose()
    return refusal_of(ShortResponse(response.status_code, response.headers, content))


def refusal_of(answer: ShortResponse) -> BrokerPlaneError:
    """The error that a bridge's problem details name (RFC 9457), or one with the status."""
    fields: Any = None
    with suppress(*MALFORMED):
        fields = loads(answer.content)
    if not isinstance(fields, dict) or "code" not in fields:
        return PullError(f"The bridge answered {answer.status} without a reason")
    retry_after = count(answer.headers.get("retry-after", ""))
    return error_of_fields(
        {
            "code": fields["code"],
            "message": fields.get("detail") or fields.get("error"),
            "retry_after": None if retry_after is None else min(float(retry_after), _LONGEST_RETRY_SECONDS),
            "revision": fields.get("revision"),
            "diff": fields.get("diff"),
        }
    )


def count(text: str) -> int | None:
    """The number in a header; None if it is missing, not a number, or implausibly long."""
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 18 else None
