"""Every error of the package in one tree: one branch per package, one leaf per reaction of the caller.

`code` is stable and meant for programs. The message is meant for people and says what went wrong and what to do.
`reason` goes to the log only. No message ever contains a grant. `web/problems.py` maps codes to HTTP statuses.

The first sentence of a docstring says what happened, the others what to do. docs/reference/errors.md is made of them.
"""

from __future__ import annotations

from functools import cache
from typing import Self


class BrokerPlaneError(Exception):
    """The base class of all errors. Catch it to handle everything that this package raises."""

    code: str = "error"
    retryable: bool = False
    """Whether the same call may succeed later, unchanged."""

    def __init__(self, message: str, *, reason: str = "", retry_after: float | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.retry_after = retry_after
        """Seconds to wait before a retry; None if there is no better estimate than one second."""

    @property
    def brief(self) -> str:
        """The code, with the reason if there is one, for logs: `bad_selector (column 3)`."""
        return f"{self.code} ({self.reason})" if self.reason else self.code

    @classmethod
    def received(cls, message: str, *, retry_after: float | None = None) -> Self:
        """An error of this class that another process reported, with the message that it sent.

        Subclasses whose constructors build the message keep the class-level defaults of their other attributes.
        """
        error = cls.__new__(cls)
        BrokerPlaneError.__init__(error, message, retry_after=retry_after)
        return error


def error_class(code: str) -> type[BrokerPlaneError]:
    """The class of an error code; the base class for a code that this version does not know."""
    return _classes().get(code, BrokerPlaneError)


@cache
def _classes() -> dict[str, type[BrokerPlaneError]]:
    kinds = (each for each in globals().values() if isinstance(each, type) and issubclass(each, BrokerPlaneError))
    return {kind.code: kind for kind in kinds if "code" in vars(kind)}


class ConfigError(BrokerPlaneError):
    """A setting or a command-line option is wrong. Change the one that the message names and start again."""

    code = "bad_config"
    in_settings = False
    """Whether `load_settings` raised it: then a command exits with 2, as for wrong usage."""


# ── wire: malformed or unacceptable requests ───────────────────────────────────────────────────────────────


class WireError(BrokerPlaneError):
    """A request or message does not have the form that the protocol defines. Correct what the message names."""

    code = "bad_request"


class SelectorError(WireError):
    """A selector is malformed or names a column or row that the grant does not show.

    Preview the body to see its columns; a wrong selector is never widened.
    """

    code = "bad_selector"


class TooLargeError(WireError):
    """The request or the response exceeds a limit. Request less, or raise the limit that the message names."""

    code = "too_large"


class UnknownHostError(WireError):
    """The bridge does not answer for the host in the request (RFC 9110, section 15.5.20).

    Use its public URL, or add the host to BROKER_PLANE_BRIDGE_HOSTS.
    """

    code = "unknown_host"


class ForeignOriginError(WireError):
    """A page of another origin tried to change state or open a WebSocket.

    Add its origin to BROKER_PLANE_CORS_ORIGINS.
    """

    code = "foreign_origin"


class UnsupportedCodingError(WireError):
    """The Content-Encoding of the request is not supported. Send the content without one."""

    code = "unsupported_coding"


class TooCostlyError(WireError):
    """The request needs more of the bridge's CPU time than one request may use.

    Request fewer rows or columns, or use a simpler condition.
    """

    code = "too_costly"


class RateLimitedError(BrokerPlaneError):
    """The holder of this grant exceeded its rate limit. Retry after `retry_after` seconds."""

    code = "rate_limited"
    retryable = True


class NotAcceptableError(WireError):
    """The body has no representation that the client accepts. Accept another media type."""

    code = "not_acceptable"


class RangeError(WireError):
    """The byte range lies outside the body (RFC 9110, section 14). Request a range within its size."""

    code = "range_not_satisfiable"
    size: int = 0

    def __init__(self, message: str, *, size: int) -> None:
        super().__init__(message)
        self.size = size


class WebhookSignatureError(WireError):
    """A webhook was not signed by its sender, or is too old. Check the secret, and the clocks of both sides."""

    code = "bad_webhook_signature"


# ── tabular: rows that cannot be encoded, projected, mapped or merged ───────────────────────────────────────


class TabularError(BrokerPlaneError):
    """The rows cannot be encoded, projected, mapped or merged. Correct the data that the message names."""

    code = "bad_rows"


class MergeError(TabularError):
    """An abstract and a body do not match. Merge only rows of one publication; the message names row and column."""

    code = "bad_merge"


class MappingError(TabularError):
    """A column mapping is ambiguous, names an unknown column or touches `_row_id`. Correct the mapping."""

    code = "bad_mapping"


class EncodingError(TabularError):
    """The stored bytes are not in a body encoding that this version can read. Upgrade, or publish the body again."""

    code = "bad_encoding"


# ── grants ─────────────────────────────────────────────────────────────────────────────────────────────────


class GrantError(BrokerPlaneError):
    """The grant cannot be used. Request a new one."""

    code = "bad_grant"


class GrantRefusedError(GrantError):
    """The grant is invalid, or its body no longer exists; clients cannot learn which.

    Call the resource tool again.
    """

    code = "unknown_grant"

    def __init__(self, reason: str = "") -> None:
        super().__init__("Unknown or expired resource", reason=reason)


class GrantExpiredError(GrantError):
    """The grant is genuine but has expired. Call the resource tool again."""

    code = "grant_expired"


class GrantUsedError(GrantError):
    """All uses of the grant are spent, or its budget is. Call the resource tool again, or request more uses."""

    code = "grant_used"


class GrantRevokedError(GrantError):
    """The grant was revoked, with all grants narrowed from it. Request a new one from its issuer."""

    code = "grant_revoked"

    def __init__(self) -> None:
        super().__init__("This grant was revoked. Request a new one from its issuer")


class GrantInUseError(GrantError):
    """Another client holds the last use of the grant. Retry: the use becomes free again if that delivery fails."""

    code = "grant_in_use"
    retryable = True


class BrokerAccessDeniedError(GrantError):
    """NATS refused a connection whose credential was a grant, without giving a reason.

    Check that the grant has not expired, or pull over HTTP.
    """

    code = "not_admitted"


class LeaseLostError(GrantError):
    """The lease of this delivery has ended. Start the pull again."""

    code = "lease_lost"


class ForbiddenError(GrantError):
    """The grant is genuine but is for another audience, for fewer bytes, or of another kind.

    Request one that permits this.
    """

    code = "forbidden"


class AuthenticationRequiredError(GrantError):
    """The grant is restricted to a named audience and the client did not authenticate.

    Set BROKER_PLANE_TOKEN, or send a bearer token.
    """

    code = "unidentified"


# ── uploads ──────────────────────────────────────────────────────────────────────────────────────────────────


class UploadError(BrokerPlaneError):
    """The upload does not match what was declared or what its grant permits. Correct what the message names."""

    code = "bad_upload"


class UnsupportedTypeError(UploadError):
    """The grant does not permit uploads of this media type. Send one of those that the message names."""

    code = "unsupported_type"


class ChecksumError(UploadError):
    """The uploaded bytes do not have the SHA-256 that was declared; nothing was stored. Upload the right file."""

    code = "bad_checksum"


class ContentDigestError(UploadError):
    """The content of a request does not match its Content-Digest; none of it was stored. Send the request again."""

    code = "bad_content_digest"


class OffsetError(UploadError):
    """The upload does not continue at the current offset. Request the offset and resume from there."""

    code = "upload_offset"
    retryable = True
    expected: int = 0
    provided: int = 0

    def __init__(self, *, expected: int, provided: int) -> None:
        super().__init__(f"The upload has {expected} bytes, but the request starts at {provided}. Resume at {expected}")
        self.expected = expected
        self.provided = provided


class UploadCompleteError(UploadError):
    """The upload is already complete, and a body never changes. Create another upload grant for other content."""

    code = "upload_complete"


class UploadNotFoundError(UploadError):
    """No upload has been started under this grant. Start one with POST or PUT."""

    code = "no_upload"


# ── query: SQL over bodies ─────────────────────────────────────────────────────────────────────────────────


class QueryError(BrokerPlaneError):
    """A query over bodies was refused or failed; nothing was stored. Do what the message says."""

    code = "query"


class QueryRefusedError(QueryError):
    """The statement is not a single SELECT, touches more than its tables, or its bodies have no common audience.

    Query only the tables of `bodies`.
    """

    code = "query_refused"


class QueryFailedError(QueryError):
    """The query engine could not run the statement; the message is its own. Correct the statement."""

    code = "query_failed"


class QueryUnavailableError(QueryError):
    """The bridge has no query engine.

    Install broker-plane[query] where the bridge runs, and set BROKER_PLANE_QUERY_WORKERS above 0.
    """

    code = "query_unavailable"


# ── storage ────────────────────────────────────────────────────────────────────────────────────────────────


class StorageError(BrokerPlaneError):
    """The broker failed to carry out a request. Look into the log of this process and of nats-server."""

    code = "storage"


class BrokerUnavailableError(StorageError):
    """nats-server does not respond. Retry: the connection recovers by itself."""

    code = "broker_away"
    retryable = True


class NotPermittedError(StorageError):
    """The NATS user of this process lacks the permission; nothing was changed. Use the user that the message names."""

    code = "not_permitted"


class StoreFullError(StorageError):
    """The bucket or the disk is full; nothing of this body was stored.

    Delete bodies, wait for some to expire, or raise the limit.
    """

    code = "store_full"


class DiskFullError(StoreFullError):
    """The disk of nats-server is full; acknowledged bodies stay readable. Free disk space."""

    code = "disk_full"

    def __init__(self, reason: str = "") -> None:
        super().__init__(
            "The disk of nats-server is or was full, so its streams reject writes. Free disk space; an embedded broker "
            "then recovers by itself, any other nats-server must be restarted",
            reason=reason,
        )


class BodyNotFoundError(StorageError):
    """No body with this id is stored: it expired, was deleted, or never existed. Publish it again."""

    code = "body_not_found"


class BodyLostError(StorageError):
    """Bytes of a stored body are lost or changed. Publish it again, and check the disk of nats-server."""

    code = "body_lost"


class DigestMismatchError(BodyLostError):
    """Size, chunk count or SHA-256 of the bytes read differ from those stored.

    Retry once, then publish the body again.
    """

    code = "digest_mismatch"


class KeysLostError(StorageError):
    """The store has lost an owner's keys, so none of its grants can be opened.

    Run `broker-plane keys rotate` and issue new grants.
    """

    code = "keys_lost"


class ConflictError(StorageError):
    """A compare-and-set failed because another process changed the entry first. Read it again and retry."""

    code = "conflict"
    retryable = True


# ── feeds ──────────────────────────────────────────────────────────────────────────────────────────────────


class FeedError(BrokerPlaneError):
    """A feed or a subscription failed. Do what the message says."""

    code = "feed"


class FeedNotFoundError(FeedError):
    """The feed or its version was never published, or retention deleted it. Read the newest version."""

    code = "feed_not_found"


class FeedGapError(FeedNotFoundError):
    """The changes since this version are no longer stored. Read the newest version in full."""

    code = "feed_gap"


class SchemaError(FeedError):
    """The columns or the key of the new version do not fit the feed; nothing was published.

    Keep them, or start a new feed.
    """

    code = "feed_schema"


class DurableError(FeedError):
    """The durable name is already used by subscribers of another feed. Choose another name."""

    code = "feed_durable"


class DurableLimitError(FeedError):
    """A grant, its owner or the bridge has reached its limit of durables; none was created.

    Delete unused ones, or raise the limit.
    """

    code = "too_many_durables"


class WebhookError(FeedError):
    """A webhook endpoint failed its verification or did not accept an event.

    Correct the receiver, then enable it again.
    """

    code = "webhook"


# ── sessions: collaborative work on one artifact ────────────────────────────────────────────────────────────


class SessionError(BrokerPlaneError):
    """A request to a collaborative session was refused; nothing of it was applied. The message says what to change."""

    code = "session"


class SessionNotFoundError(SessionError):
    """There is no such session, or it has expired. Ask its owner for a grant of another one."""

    code = "session_not_found"


class SessionClosedError(SessionError):
    """The session is closed. Its artifact is a body: read `result` of `show`."""

    code = "session_closed"


class RevisionNotFoundError(SessionError):
    """The session has no such revision. Read its newest one with `show`, or list them with `log`."""

    code = "revision_not_found"


class ChangeError(SessionError):
    """A change cannot be decoded, or does not fit the artifact at its revision. Read the artifact and make it again."""

    code = "bad_change"


class IntentError(SessionError):
    """The policy of the session does not have this intent, or not for this role. Use one of those that `show` lists."""

    code = "bad_intent"


class StaleBaseError(SessionError):
    """The artifact has changed since `base`. Read `diff`, and propose again on `revision`."""

    code = "stale_base"
    revision: int = 0
    diff: str = ""

    @classmethod
    def of(cls, revision: int, diff: str, what_to_do: str = "Propose again on it") -> Self:
        """The error for a base that is older than `revision`; `diff` is what changed since, for people and models."""
        error = cls(f"The artifact has changed since your base; it is now at revision {revision}. {what_to_do}")
        error.revision, error.diff = revision, diff
        return error


class RegionLeasedError(SessionError):
    """Another participant has leased the region, and the policy lets leases block. Wait, or edit another region."""

    code = "region_leased"


class NotValidError(SessionError):
    """A validator refused the artifact after this change, so the change was reverted; the log has both.

    Propose a change that the message's validator accepts.
    """

    code = "not_valid"
    revision: int = 0
    """The revision that reverted the change."""


# ── durable tasks ──────────────────────────────────────────────────────────────────────────────────────────


class TaskError(BrokerPlaneError):
    """A durable task was used wrongly by its own function. Do what the message says."""

    code = "task"


class TaskNotFoundError(TaskError):
    """There is no such task: it has expired, or another client created it. Call the tool again."""

    code = "task_not_found"


class ExchangeNotFoundError(StorageError):
    """No durable request with this id is stored: it has expired, or its client has the answer. List those that are."""

    code = "exchange_not_found"


# ── embedded broker ────────────────────────────────────────────────────────────────────────────────────────


class EmbeddedError(BrokerPlaneError):
    """The embedded nats-server or its bridge could not be started or found.

    Do what the message says; the logs are in the data directory.
    """

    code = "embedded"


class DamagedFileError(EmbeddedError):
    """A file in the data directory cannot be read. Restart the embedded broker, which writes it again."""


class PortInUseError(EmbeddedError):
    """The requested port is in use by another program. Choose another port, or stop that program."""

    code = "port_in_use"


# ── client ─────────────────────────────────────────────────────────────────────────────────────────────────


class OutputError(BrokerPlaneError):
    """The pulled data cannot be written to its destination. Check the path, its permissions and the free space."""

    code = "bad_output"


class PullError(BrokerPlaneError):
    """A pull did not end in a verified read. Do what the message says."""

    code = "pull_failed"


class UntrustedHostError(PullError):
    """The URL leads to a host that is not trusted; nothing was sent to it.

    If you trust it, add it to BROKER_PLANE_TRUSTED_HOSTS.
    """

    code = "untrusted_host"


class TransferInterruptedError(PullError):
    """The transfer broke off or failed verification, even after retries. Try again: the grant is still valid."""

    code = "transfer_broken"
    retryable = True


# ── agent: the model's side ────────────────────────────────────────────────────────────────────────────────


class AgentError(BrokerPlaneError):
    """Something failed on the agent's side, between model and servers. Do what the message says."""

    code = "agent"


class StaleHandleError(AgentError):
    """The `ddi://` handle was already used, has expired, or comes from another agent. Call the resource tool again."""

    code = "stale_handle"


class BufferFullError(AgentError):
    """The agent's buffer is full; nothing was stored. Pass bodies on, or use mode="async"."""

    code = "buffer_full"


class LeakError(AgentError):
    """A value of a body appears in what the model was given.

    Look at the place that the message names; the value is not repeated.
    """

    code = "leak"


class UpstreamError(BrokerPlaneError):
    """The MCP server behind the proxy could not be started or reached. Check its command or URL."""

    code = "upstream"


class McpSessionNotFoundError(BrokerPlaneError):
    """The MCP session is unknown, was closed, or has expired. Open a new one: send a message without a session id."""

    code = "mcp_session_not_found"

    def __init__(self) -> None:
        super().__init__("Unknown or closed session; send a message without a session id to open a new one")


class KeyReusedError(WireError):
    """Another request has this idempotency key. Use a new key for each request, and the same one to repeat it."""

    code = "key_reused"


class WeakKeyError(WireError):
    """The idempotency key can be guessed, and its sender has no access token. Use a random one, such as a UUID."""

    code = "weak_key"


# ── transfers by descriptor ─────────────────────────────────────────────────────────────────────────────────


class TransferError(BrokerPlaneError):
    """A transfer by descriptor was refused or failed; nothing was stored. Do what the message says."""

    code = "transfer"


class DescriptorExpiredError(TransferError):
    """The descriptor has expired. Request another one."""

    code = "descriptor_expired"


class WrongSizeError(TransferError):
    """The received data does not have the size that the descriptor declares. Request another descriptor."""

    code = "wrong_size"


class WrongChecksumError(TransferError):
    """The received data does not have the SHA-256 that the descriptor declares. Request another descriptor."""

    code = "wrong_checksum"


class WrongCompressionError(TransferError):
    """The received data is not compressed as the descriptor declares. Request another descriptor."""

    code = "wrong_compression"


class RedirectedError(TransferError):
    """The endpoint redirected the request, and redirects are not followed. Request a descriptor with the final URL."""

    code = "redirected"


class AuthFailedError(TransferError):
    """The endpoint rejected the descriptor's credential. Request another descriptor."""

    code = "auth_failed"


class UnsupportedProtocolError(TransferError):
    """No handler for this protocol is available. Install the extra that the message names."""

    code = "unsupported_protocol"


class ChainError(TransferError):
    """A step of a chain failed; completed steps are kept. Run the same command again to resume."""

    code = "chain"


class ForbiddenPathError(TransferError):
    """The path is outside the permitted directories. Add its directory to BROKER_PLANE_TRANSFER_DIRECTORIES."""

    code = "forbidden_path"


# ── levels: code that a model wrote, and what it runs in ────────────────────────────────────────────────────


class LevelsError(TransferError):
    """Generated code did not produce the described bytes. `broker-plane levels log` shows each attempt."""

    code = "levels"


class SandboxUnavailableError(LevelsError):
    """This machine has no sandbox for generated code, which never runs without one. Install what the message names."""

    code = "no_sandbox"


class ProviderError(LevelsError):
    """The provider of the model did not return code. Do what the message says, or use another provider."""

    code = "provider"


# ── registry: descriptions of protocols, and who serves them ────────────────────────────────────────────────


class RegistryError(BrokerPlaneError):
    """A registry entry is malformed, or does not fit what is registered. Correct what the message names."""

    code = "registry"


class SignatureError(RegistryError):
    """The signature of a registry entry is not its owner's. Do not use the entry."""

    code = "bad_signature"


class NotOwnerError(RegistryError):
    """The id belongs to another owner. Publish under an id of your own."""

    code = "not_owner"


class OldVersionError(RegistryError):
    """The version is not newer than the newest one that is registered. Publish a newer version."""

    code = "old_version"


class EntryNotFoundError(RegistryError):
    """No such protocol, version or agent is registered. Search for it, or ask its owner."""

    code = "not_registered"


class PeerError(RegistryError):
    """An agent refused to negotiate, or gave an answer that is not valid. Use another one that a search finds."""

    code = "peer"


class CompositionError(RegistryError):
    """The descriptions do not fit together. Leave out one of those that the message names."""

    code = "bad_composition"


class NotSupportedYetError(BrokerPlaneError):
    """This version does not support the feature. Upgrade, or install the extra that the message names."""

    code = "not_built"
