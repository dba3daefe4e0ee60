"""Every error of the package, in one tree: one branch a room, leaves by what the caller does next.

`code` is stable and goes to programs; the message says what was wrong and what to do and goes to people;
`reason` goes to the log only. No message ever holds a grant. The table from code to HTTP status is
`bridge/problems.py`.
"""

from __future__ import annotations


class BrokerPlaneError(Exception):
    """The root. `retryable` says that the same call may succeed later without any change to it."""

    code: str = "error"
    retryable: bool = False

    def __init__(self, message: str, *, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        """Seconds after which a retry is worth its while; None where there is no better guess than a second."""


class ConfigError(BrokerPlaneError):
    """A setting is wrong: change it and start again."""

    code = "bad_config"


# ── wire: what came in is not what it should be ────────────────────────────────────────────────────────────


class WireError(BrokerPlaneError):
    """Something that was read does not have the form that its contract gives it."""

    code = "bad_request"


class SelectorError(WireError):
    """A selector names a column or a row that is not there, or is none at all. Never answered by a wider view."""

    code = "bad_selector"


class TooLargeError(WireError):
    """What came in, or would go out, is above a limit that the message names."""

    code = "too_large"


class UnknownHostError(WireError):
    """The request names a host that this server does not answer for (RFC 9110, section 15.5.20)."""

    code = "unknown_host"


class ForeignOriginError(WireError):
    """A page of another origin sent a request that changes something, or wants a WebSocket."""

    code = "foreign_origin"


class UnsupportedCodingError(WireError):
    """The request's content has a coding; it is taken as it is only."""

    code = "unsupported_coding"


class TooCostlyError(WireError):
    """A request that would take more of the bridge's time than one may; ask for less."""

    code = "too_costly"


class RateLimitedError(BrokerPlaneError):
    """This holder has more under way, or has had more done, than its share. Try again after `retry_after`."""

    code = "rate_limited"
    retryable = True


class NotAcceptableError(WireError):
    """None of the representations that the asker accepts can be made of this body."""

    code = "not_acceptable"


class RangeError(WireError):
    """The byte range lies outside the body (RFC 9110, section 14)."""

    code = "range_not_satisfiable"

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


# ── tabular: rows that cannot be encoded, decoded, mapped or merged ────────────────────────────────────────


class TabularError(BrokerPlaneError):
    """Rows that this package cannot take, project, map or merge."""

    code = "bad_rows"


class MergeError(TabularError):
    """An abstract and a body do not fit together; the message names row and column."""

    code = "bad_merge"


class MappingError(TabularError):
    """A column mapping collides, names an unknown column or touches `_row_id`."""

    code = "bad_mapping"


class EncodingError(TabularError):
    """Stored bytes are no body encoding of a version that this reader knows."""

    code = "bad_encoding"


# ── grants ─────────────────────────────────────────────────────────────────────────────────────────────────


class GrantError(BrokerPlaneError):
    """A grant that opens nothing."""

    code = "bad_grant"


class GrantRefusedError(GrantError):
    """Forged, altered, of an unknown key, or of a body that is gone: the asker learns no more than that."""

    code = "unknown_grant"

    def __init__(self, reason: str = "") -> None:
        super().__init__("Unknown or expired resource", reason=reason)


class GrantExpiredError(GrantError):
    """The grant was genuine; its time is over. Ask the resource tool again."""

    code = "grant_expired"


class GrantUsedError(GrantError):
    """Every use of the grant was delivered. Ask the resource tool again, or for more uses."""

    code = "grant_used"


class GrantRevokedError(GrantError):
    """The grant was genuine; whoever gave it took it back, and all that was narrowed from it."""

    code = "grant_revoked"

    def __init__(self) -> None:
        super().__init__("This grant was revoked. Ask whoever gave it for another one")


class GrantInUseError(GrantError):
    """Another asker holds the last use; it may come back."""

    code = "grant_in_use"
    retryable = True


class BrokerAccessDeniedError(GrantError):
    """NATS refused a connection whose credential was a grant; it says no more than that."""

    code = "not_admitted"


class LeaseLostError(GrantError):
    """The lease that a window or a confirmation named is over."""

    code = "lease_lost"


class ForbiddenError(GrantError):
    """Genuine, but not for this: for another puller, for fewer bytes, or of another kind."""

    code = "forbidden"


class AuthenticationRequiredError(GrantError):
    """The grant is for one puller by name, and this one did not say who it is."""

    code = "unidentified"


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────────────────


class UploadError(BrokerPlaneError):
    """What is sent is not what the upload was said to be, or may be."""

    code = "bad_upload"


class UnsupportedTypeError(UploadError):
    """The media type is none that the upload is for."""

    code = "unsupported_type"


class ChecksumError(UploadError):
    """The bytes that came have another SHA-256 than was asked for; nothing of them is kept."""

    code = "bad_checksum"


class ContentDigestError(UploadError):
    """The content of a request is not what its Content-Digest says; nothing of it is kept."""

    code = "bad_content_digest"


class OffsetError(UploadError):
    """The bytes do not go on where those that are kept end; ask for the offset and send from there."""

    code = "upload_offset"
    retryable = True

    def __init__(self, *, expected: int, provided: int) -> None:
        super().__init__(f"The upload has {expected} bytes; what came begins at {provided}. Go on at {expected}")
        self.expected = expected
        self.provided = provided


class UploadCompleteError(UploadError):
    """It is complete and is a body now, which never changes."""

    code = "upload_complete"


class UploadNotFoundError(UploadError):
    """Nothing was begun here yet; POST creates it."""

    code = "no_upload"


# ── storage ────────────────────────────────────────────────────────────────────────────────────────────────


class StorageError(BrokerPlaneError):
    """The broker did not do what was asked."""

    code = "storage"


class BrokerUnavailableError(StorageError):
    """nats-server does not answer. The connection recovers by itself; try again."""

    code = "broker_away"
    retryable = True


class NotPermittedError(StorageError):
    """This process's NATS user may not do that; the message says who may. Nothing was done."""

    code = "not_permitted"


class StoreFullError(StorageError):
    """The bucket or the disk is full; nothing of this body was kept."""

    code = "store_full"


class DiskFullError(StoreFullError):
    """The disk under nats-server takes no more writes; what was acknowledged stays readable."""

    code = "disk_full"

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            "The disk of nats-server is full, or was: its streams take no writes. Free space on it; an embedded broker "
            "then recovers by itself, another nats-server must be restarted",
            reason=reason,
        )


class BodyNotFoundError(StorageError):
    """No body of this id is stored: it expired, was deleted, or never was."""

    code = "body_not_found"


class BodyLostError(StorageError):
    """The body was acknowledged, and some of its bytes are gone or changed."""

    code = "body_lost"


class DigestMismatchError(BodyLostError):
    """Size, chunk count or SHA-256 of what was read is not what was stored."""

    code = "digest_mismatch"


class KeysLostError(StorageError):
    """The store has lost an owner's keys: no grant of that owner can be opened until the operator makes new ones."""

    code = "keys_lost"


class ConflictError(StorageError):
    """A compare-and-set lost its race; read again."""

    code = "conflict"
    retryable = True


# ── feeds ──────────────────────────────────────────────────────────────────────────────────────────────────


class FeedError(BrokerPlaneError):
    """A feed, or a subscription to one, that does not do what was asked."""

    code = "feed"


class FeedNotFoundError(FeedError):
    """There is no feed of this name, or no such version of it: it was never published, or retention took it."""

    code = "feed_not_found"


class FeedGapError(FeedNotFoundError):
    """What changed since a version cannot be told: neither it nor the changes after it are kept any more."""

    code = "feed_gap"


class SchemaError(FeedError):
    """A version whose columns or key its subscribers could not read; nothing was published."""

    code = "feed_schema"


class DurableError(FeedError):
    """The name of a durable that another feed's subscribers have."""

    code = "feed_durable"


class DurableLimitError(FeedError):
    """A grant, its owner or all of them together have as many durables as they may; nothing was made."""

    code = "too_many_durables"


class WebhookError(FeedError):
    """A webhook's endpoint did not answer for itself, or did not take an event."""

    code = "webhook"


# ── embedded broker ────────────────────────────────────────────────────────────────────────────────────────


class EmbeddedError(BrokerPlaneError):
    """The private nats-server or bridge of this user could not be started or found."""

    code = "embedded"


class DamagedFileError(EmbeddedError):
    """A file of the data directory cannot be read; a broker that runs there writes it again."""


class PortInUseError(EmbeddedError):
    """The port that was asked for is taken by another program."""

    code = "port_in_use"


# ── client ─────────────────────────────────────────────────────────────────────────────────────────────────


class OutputError(BrokerPlaneError):
    """What was pulled cannot be written to where it should go."""

    code = "bad_output"


class PullError(BrokerPlaneError):
    """A pull did not end in a verified read."""

    code = "pull_failed"


class UntrustedHostError(PullError):
    """A `resource_url` of a host that the settings do not name; nothing was sent to it."""

    code = "untrusted_host"


class TransferInterruptedError(PullError):
    """The bytes stopped or did not verify, after every retry. The grant is still good."""

    code = "transfer_broken"
    retryable = True


# ── agent: the model's side ────────────────────────────────────────────────────────────────────────────────


class AgentError(BrokerPlaneError):
    """Something on the agent's side, between the model and the servers."""

    code = "agent"


class StaleHandleError(AgentError):
    """A `ddi://` handle that was used, expired, or never given out. Call the resource tool again."""

    code = "stale_handle"


class BufferFullError(AgentError):
    """The agent's buffer holds as much as it may; nothing was kept. Hand bodies on, or use mode="async"."""

    code = "buffer_full"


class LeakError(AgentError, AssertionError):
    """A value of a body stands in what the model was given. The message says where, never what."""

    code = "leak"


class UpstreamError(BrokerPlaneError):
    """The MCP server behind the proxy could not be started or reached."""

    code = "upstream"


# ── transfers by descriptor ─────────────────────────────────────────────────────────────────────────────────


class TransferError(PullError):
    """A transfer by descriptor was refused or failed; nothing of it was kept."""

    code = "transfer"


class DescriptorExpiredError(TransferError):
    """The descriptor's time is over; ask for another one."""

    code = "descriptor_expired"


class WrongSizeError(TransferError):
    """What came has another size than the descriptor says."""

    code = "wrong_size"


class WrongChecksumError(TransferError):
    """What came has another SHA-256 than the descriptor says."""

    code = "wrong_checksum"


class WrongCompressionError(TransferError):
    """What came is not compressed as the descriptor says."""

    code = "wrong_compression"


class RedirectedError(TransferError):
    """The endpoint sends elsewhere; nobody followed it there."""

    code = "redirected"


class AuthFailedError(TransferError):
    """The endpoint does not take the descriptor's credential."""

    code = "auth_failed"


class UnsupportedProtocolError(TransferError):
    """No handler here knows the protocol, or what it needs is not installed; the message says which."""

    code = "unsupported_protocol"


class ChainError(TransferError):
    """A step of a chain failed; those before it are kept."""

    code = "chain"


class ForbiddenPathError(TransferError):
    """A path outside the directories that the settings name."""

    code = "forbidden_path"


class NotSupportedYetError(BrokerPlaneError):
    """A part of the contract that this version does not have yet."""

    code = "not_built"
