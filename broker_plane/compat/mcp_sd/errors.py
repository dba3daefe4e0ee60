"""The errors of S2SP, into which these modules translate our own."""

from __future__ import annotations

from broker_plane.errors import (
    AuthenticationRequiredError,
    BrokerPlaneError,
    BrokerUnavailableError,
    ForbiddenError,
    GrantError,
    GrantInUseError,
    LeaseLostError,
    UntrustedHostError,
)


class S2SPError(Exception):
    """The base of S2SP's errors; `transfer_id` is the grant's id, if known."""

    def __init__(self, message: str, transfer_id: str | None = None) -> None:
        super().__init__(message)
        self.transfer_id = transfer_id


class TransferDeniedError(S2SPError):
    """One side refused: the host is not trusted, or the grant is for another puller."""

    def __init__(
        self, message: str, transfer_id: str | None = None, denied_by: str = "unknown", reason: str | None = None
    ) -> None:
        super().__init__(message, transfer_id)
        self.denied_by = denied_by
        self.reason = reason


class TransferFailedError(S2SPError):
    """The transfer started but did not end in a verified read."""

    def __init__(self, message: str, transfer_id: str | None = None, bytes_transferred: int = 0) -> None:
        super().__init__(message, transfer_id)
        self.bytes_transferred = bytes_transferred


class TransferTimeoutError(S2SPError):
    """The other side did not answer in time."""


class InvalidTokenError(S2SPError):
    """The token of a resource_url is unknown, used or expired."""


class InvalidStateTransitionError(S2SPError):
    """The operation is not allowed in the state of the transfer."""

    def __init__(
        self,
        message: str,
        transfer_id: str | None = None,
        from_state: str | None = None,
        to_state: str | None = None,
    ) -> None:
        super().__init__(message, transfer_id)
        self.from_state = from_state
        self.to_state = to_state


def as_theirs(error: BrokerPlaneError) -> S2SPError:
    """The S2SP error for one of ours."""
    if isinstance(error, (UntrustedHostError, ForbiddenError, AuthenticationRequiredError)):
        return TransferDeniedError(str(error), denied_by="receiver", reason=error.code)
    if isinstance(error, LeaseLostError):
        return InvalidStateTransitionError(str(error), from_state="leased", to_state="done")
    if isinstance(error, GrantError) and not isinstance(error, GrantInUseError):
        return InvalidTokenError(str(error))
    if isinstance(error, BrokerUnavailableError):
        return TransferTimeoutError(str(error))
    return TransferFailedError(str(error))
