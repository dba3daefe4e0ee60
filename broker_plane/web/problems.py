"""The table from error codes to HTTP statuses, and problem details (RFC 9457) with S2SP's member `error`."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

import orjson

from broker_plane.errors import (
    BrokerPlaneError,
    NotValidError,
    OffsetError,
    RangeError,
    SessionError,
    StaleBaseError,
    UnsupportedCodingError,
)
from broker_plane.wire.urls import redact

NOT_FOUND = "Unknown or expired resource"
"""S2SP's message for every grant that does not open: the client learns no more than that."""

STATUS_OF_CODE = {
    "bad_request": 400,
    "bad_upload": 400,
    "bad_content_digest": 400,
    "bad_selector": 400,
    "unidentified": 401,
    "bad_webhook_signature": 401,
    "forbidden": 403,
    "foreign_origin": 403,
    "query_refused": 403,
    "unknown_grant": 404,
    "bad_grant": 404,
    "no_upload": 404,
    "mcp_session_not_found": 404,
    "not_acceptable": 406,
    "grant_in_use": 409,
    "conflict": 409,
    "upload_offset": 409,
    "upload_complete": 409,
    "grant_expired": 410,
    "grant_used": 410,
    "grant_revoked": 410,
    "lease_lost": 410,
    # The grant was genuine, so its holder may know that the body was deleted.
    "body_not_found": 410,
    "feed_not_found": 410,
    "feed_gap": 410,
    "feed_durable": 400,
    "session": 409,
    "session_closed": 409,
    "stale_base": 409,
    "session_not_found": 410,
    "not_registered": 404,
    "registry": 400,
    "bad_signature": 502,
    "bad_intent": 403,
    "bad_change": 422,
    "not_valid": 422,
    "revision_not_found": 422,
    "region_leased": 423,
    "too_large": 413,
    "too_costly": 413,
    "rate_limited": 429,
    "unsupported_type": 415,
    "unsupported_coding": 415,
    "range_not_satisfiable": 416,
    "unknown_host": 421,
    "bad_checksum": 422,
    "key_reused": 422,
    "query_failed": 422,
    "too_many_durables": 429,
    "not_built": 501,
    "query_unavailable": 501,
    # The bridge is a gateway, and the server behind it gave no valid answer (RFC 9110, section 15.6.3). Not 404: the
    # body was acknowledged. Not 500: the bridge itself is fine, and the client cannot fix it by another request.
    "storage": 502,
    "not_permitted": 502,
    "body_lost": 502,
    "digest_mismatch": 502,
    "bad_encoding": 502,
    "keys_lost": 502,
    "broker_away": 503,
    "store_full": 507,
    "disk_full": 507,
}

NEVER_HERE = frozenset(
    {"error", "query", "bad_config", "bad_rows", "bad_merge", "bad_mapping", "embedded", "port_in_use"}
    | {"feed", "feed_schema", "webhook", "task", "task_not_found", "weak_key", "exchange_not_found"}
    | {"pull_failed", "bad_output", "untrusted_host", "transfer_broken", "not_admitted"}
    | {"transfer", "descriptor_expired", "wrong_size", "wrong_checksum", "wrong_compression", "redirected"}
    | {"auth_failed", "unsupported_protocol", "forbidden_path", "chain"}
    | {"levels", "no_sandbox", "provider", "not_owner", "old_version", "bad_composition", "peer"}
    | {"agent", "stale_handle", "buffer_full", "leak", "upstream"}
)
"""Codes of packages that a bridge never calls. An answer with one of them is a bug, and so a 500."""

_PROBLEM_TYPES = "https://iana.org/assignments/http-problem-types#"
_RETRY = frozenset({409, 429, 503})


@dataclass(frozen=True, slots=True)
class Problem:
    """The status, headers and body of an error."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes


def status_of(error: BrokerPlaneError) -> int:
    """The status of an error; 500 for a code that is not in the table."""
    return STATUS_OF_CODE.get(error.code, 500)


def problem_of(error: BrokerPlaneError) -> Problem:
    """The answer to an error, without its `reason`, which is for logs."""
    status = status_of(error)
    if status == 500:
        return internal_problem()
    headers = []
    if status in _RETRY and not isinstance(error, SessionError):  # the same request to a session fails again
        headers.append(("retry-after", str(max(1, math.ceil(error.retry_after or 1)))))
    if status == 401:
        headers.append(("www-authenticate", 'Bearer realm="broker-plane"'))
    if isinstance(error, UnsupportedCodingError):
        headers.append(("accept-encoding", "identity"))  # RFC 9110, section 15.5.16
    if isinstance(error, RangeError):
        headers.append(("content-range", f"bytes */{error.size}"))
    detail = NOT_FOUND if status == 404 else str(error)
    if isinstance(error, OffsetError):
        # draft-ietf-httpbis-resumable-upload-12, section "Problem Types"
        headers.append(("upload-offset", str(error.expected)))
        more = {"expected-offset": error.expected, "provided-offset": error.provided}
        kind = _PROBLEM_TYPES + "mismatching-upload-offset"
        return make_problem(status, error.code, detail, retryable=True, headers=headers, kind=kind, more=more)
    return make_problem(
        status, error.code, detail, retryable=error.retryable, headers=headers, more=extra_members(error)
    )


def extra_members(error: BrokerPlaneError) -> dict[str, Any]:
    """The members that an error adds to its code and message, as every answer of a session has them."""
    if isinstance(error, StaleBaseError):
        return {"revision": error.revision, "diff": error.diff}
    return {"revision": error.revision} if isinstance(error, NotValidError) else {}


def internal_problem() -> Problem:
    """The answer to an unexpected exception, which is logged."""
    return make_problem(500, "internal", "Internal error; see the log of the bridge")


def method_problem(allowed: str) -> Problem:
    """405; `allowed` is the value of Allow."""
    detail = f"Method not allowed; use {methods_text(allowed)}"
    return make_problem(405, "method_not_allowed", detail, headers=[("allow", allowed)])


def methods_text(allowed: str) -> str:
    """The methods in `allowed`, as a person writes them: `GET, HEAD or POST`."""
    *first, last = allowed.split(", ")
    return f"{', '.join(first)} or {last}" if first else last


def route_problem() -> Problem:
    """404 for a path without a route."""
    return make_problem(404, "no_route", "No such route")


def make_problem(
    status: int,
    code: str,
    detail: str,
    *,
    retryable: bool = False,
    headers: list[tuple[str, str]] | None = None,
    kind: str = "about:blank",
    more: Mapping[str, Any] = MappingProxyType({}),
) -> Problem:
    """Problem details; with `kind` about:blank the title is the status phrase (RFC 9457, section 4.2.1)."""
    detail = redact(detail)  # an error may quote the request
    body = orjson.dumps(
        {
            "type": kind,
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": detail,
            "error": detail,
            "code": code,
            "retryable": retryable,
            **more,
        }
    )
    fixed = (
        ("content-type", "application/problem+json"),
        ("content-length", str(len(body))),
        # Nobody may cache a 404: the same URL may answer again once the broker is back.
        ("cache-control", "no-store"),
        ("x-content-type-options", "nosniff"),
    )
    return Problem(status, (*fixed, *(headers or ())), body)
