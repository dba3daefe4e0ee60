"""Limits the requests that a responder is answering, by grant, before their grants are opened.

The claims of a grant's text are not verified here, and cannot be without waiting. A client that invents grants only
learns that they open nothing, and cannot use up the limit of a grant whose id it does not know.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import NamedTuple

from broker_plane.errors import GrantRefusedError, RateLimitedError, TooLargeError
from broker_plane.wire.grant import claimed_id
from broker_plane.wire.presigned_sizes import MOST_REQUEST_BYTES

MOST_OF_A_GRANT = 1024
_MOST = 4096
MODEST_BYTES = 64 << 10
_MOST_LARGE_OF_A_GRANT = 2
_MOST_LARGE = 8
"""Requests above MODEST_BYTES; each uses up to 5 MiB until it is answered."""


class RequestClaim(NamedTuple):
    """The grant id that a request claims to have, and its size in bytes."""

    grant: str
    size: int


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to a request."""

    raw: bytes
    sent: int = 0
    """Bytes of a body that are sent with it, in it or by JetStream."""


class PendingRequests:
    """Counts the requests of each grant that are being answered."""

    def __init__(self) -> None:
        self._all = 0
        self._large = 0
        self._of: Counter[str] = Counter()
        self._large_of: Counter[str] = Counter()

    def take(self, claim: RequestClaim) -> None:
        """Count the request, until `free`.

        Raises:
            RateLimitedError, TooLargeError: it is not counted, and this error is its answer.
        """
        if claim.size > MOST_REQUEST_BYTES:
            raise TooLargeError(
                f"A request over NATS has at most {MOST_REQUEST_BYTES} bytes; use HTTP for more row_ids"
            )
        if self._all >= _MOST or self._of[claim.grant] >= MOST_OF_A_GRANT:
            raise _too_many()
        if claim.size > MODEST_BYTES:
            if self._large >= _MOST_LARGE or self._large_of[claim.grant] >= _MOST_LARGE_OF_A_GRANT:
                raise _too_many()
            self._large += 1
            self._large_of[claim.grant] += 1
        self._all += 1
        self._of[claim.grant] += 1

    def free(self, claim: RequestClaim) -> None:
        """The request is answered."""
        self._all -= 1
        _decrement(self._of, claim.grant)
        if claim.size > MODEST_BYTES:
            self._large -= 1
            _decrement(self._large_of, claim.grant)


def claim_of(text: str, size: int) -> RequestClaim:
    """The claim of a request of `size` bytes with the grant `text`."""
    try:
        return RequestClaim(claimed_id(text), size)
    except GrantRefusedError:
        return RequestClaim("", size)


def _decrement(counts: Counter[str], grant: str) -> None:
    counts[grant] -= 1
    if not counts[grant]:
        del counts[grant]


def _too_many() -> RateLimitedError:
    return RateLimitedError("Too many requests of this grant are under way; wait for their answers", retry_after=1)
