"""The messages of the presigned subject `bp.pull.<grant>.<asker>` as msgpack maps. Pure.

See docs/reference/wire-protocol.md#presigned-subjects. A request is one window: `{n, lease?, after?, who?, columns?,
row_ids?}`. The answer is `{lease, info}` with `data` for a small body, or `{error: {code, message, retry_after?}}`; a
request with `look` is answered with `{look}` and nothing else. Otherwise chunks follow on `bp.dlv.<asker>.<n>`, and a
message with the header `Status: 204` ends the window. `after` is the last stream sequence of a whole body, or the
number of the last frame of a cut one. The former is `until` of the answer, so that the next window can be requested
meanwhile; the latter is `Bp-After` of the window's end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import msgpack
import msgspec

from broker_plane.errors import TooLargeError, WireError
from broker_plane.wire.body import BodyInfo, body_info
from broker_plane.wire.presigned_errors import error_of_fields
from broker_plane.wire.presigned_sizes import MOST_REQUEST_BYTES
from broker_plane.wire.preview import MOST_SAMPLED, Preview, parse_sample, preview_of
from broker_plane.wire.selector import Selector, selector_of_msgpack

T = TypeVar("T")
AT = "Bp-At"
"""Header of a piece of a cut window: its number in the pull, counting up, so that a repeated one is dropped."""

AFTER = "Bp-After"
"""Header of the end of a cut window: the number of the last frame that was sent."""

MOST_CONFIRMATION_BYTES = 4096
MOST_TEXT = 200
_STATUSES = ("success", "failure")
_WHO = re.compile(r"[A-Za-z0-9_-]{0,32}\Z")
_NUMBER = re.compile(r"[A-Za-z0-9_-]{22}(\.[A-Za-z0-9_-]{8})?\Z")
NUMBER_BYTES, CONNECTION_BYTES = 16, 6
"""Random bytes of a pull's number, and of the suffix that all numbers of a connection share if it subscribes only
once.
"""


@dataclass(frozen=True, slots=True)
class PullRequest:
    """One window of a pull. `number` names the delivery subject, `after` what the asker has; -1 is nothing.
    After a dot it may name the connection: who listens on `bp.dlv.<asker>.*.<connection>` listens once for all pulls.

    `who` tells apart the processes that share one asker's name.
    """

    number: str
    selector: Selector
    lease: str = ""
    after: int = -1
    look: int | None = None
    """Number of rows of a preview, in place of a pull."""
    who: str = ""
    version: int | None = None
    """The version of a feed, if the grant is for a feed; 0 is the newest."""
    since: int | None = None
    """The changes since this version, in place of the rows."""
    durable: str = ""
    """Create a durable with this name for the puller, in place of a pull; a new one starts at `begin`."""
    begin: str | int | float = "last"

    def claimant(self, asker: str) -> str:
        """The process that holds the lease: a puller may retake its own lease, not that of another process of the
        same name.
        """
        return f"{asker}/{self.who}" if self.who else asker

    def pack(self) -> bytes:
        fields: dict[str, Any] = {"n": self.number, **self.selector.to_wire()}
        if self.who:
            fields |= {"who": self.who}
        if self.lease:
            fields |= {"lease": self.lease}
        if self.after >= 0:
            fields |= {"after": self.after}
        if self.look is not None:
            fields |= {"look": self.look}
        if self.version is not None:
            fields |= {"version": self.version}
        if self.since is not None:
            fields |= {"since": self.since}
        if self.durable:
            fields |= {"durable": self.durable, "begin": self.begin}
        return _pack(fields)


@dataclass(frozen=True, slots=True)
class PullAnswer:
    """The answer before the bytes. `data` is the whole content of a small body or of a small cut.

    `until` is the last stream sequence of a whole body's window, -1 if it is unknown: the next window may be requested
    while this one arrives.
    """

    lease: str
    info: BodyInfo
    data: bytes | None = None
    until: int = -1

    def pack(self) -> bytes:
        fields: dict[str, Any] = {"lease": self.lease, "info": self.info.to_wire()}
        if self.data is not None:
            fields |= {"data": self.data}
        if self.until >= 0:
            fields |= {"until": self.until}
        return _pack(fields)


@dataclass(frozen=True, slots=True)
class PullConfirmation:
    """How a delivery ended. `sent` is the fraction that arrived of a failed one.

    `checksum` is the SHA-256 (hex) of the received bytes, if the reader sent it; a mismatch makes the delivery a failed
    one.
    """

    lease: str
    success: bool
    bytes_received: int = 0
    sent: float = 1.0
    checksum: str = ""

    def pack(self) -> bytes:
        status = "success" if self.success else "failure"
        fields = {"lease": self.lease, "status": status, "bytes_received": self.bytes_received, "sent": self.sent}
        return _pack(fields | ({"checksum": self.checksum} if self.checksum else {}))


def parse_request(raw: bytes) -> PullRequest:
    """The request in `raw`.

    Raises:
        WireError: it is not a request. SelectorError: its selector is not valid. TooLargeError: it is above the limit.
    """
    if len(raw) > MOST_REQUEST_BYTES:
        raise TooLargeError(f"A request over NATS has at most {MOST_REQUEST_BYTES} bytes; name fewer rows, or use HTTP")
    fields = _read(_REQUEST, raw, _REQUEST_MEMBERS)
    if not _NUMBER.match(fields.n):
        raise WireError(_REQUEST_MEMBERS["n"])
    if len(fields.lease) > 64 or fields.after < -1:
        raise WireError(_REQUEST_MEMBERS["lease"])
    if not _WHO.match(fields.who):
        raise WireError(_REQUEST_MEMBERS["who"])
    if len(fields.durable) > MOST_TEXT or (isinstance(fields.begin, str) and len(fields.begin) > MOST_TEXT):
        raise WireError(_REQUEST_MEMBERS["durable"])
    for name in ("version", "since"):
        if (getattr(fields, name) or 0) < 0:
            raise WireError(_REQUEST_MEMBERS[name])
    return PullRequest(
        fields.n,
        selector_of_msgpack(bytes(fields.columns), bytes(fields.row_ids)),
        fields.lease,
        fields.after,
        None if fields.look is msgspec.UNSET else parse_sample(fields.look),
        fields.who,
        fields.version,
        fields.since,
        fields.durable,
        fields.begin,
    )


class _Request(msgspec.Struct):
    """The members of a request by their types: nothing is created for members of other types or names."""

    n: str = ""
    lease: str = ""
    after: int = -1
    look: int | msgspec.UnsetType | None = msgspec.UNSET
    who: str = ""
    version: int | None = None
    since: int | None = None
    durable: str = ""
    begin: str | int | float = "last"
    columns: msgspec.Raw = msgspec.Raw()
    row_ids: msgspec.Raw = msgspec.Raw()


_LEASE_OR_AFTER = "lease is a text and after a whole number, both as in the answers before"
_DURABLE_OR_BEGIN = "durable is a name, and begin a word, a version or a time"
_REQUEST = msgspec.msgpack.Decoder(_Request)
_REQUEST_MEMBERS = {
    "n": "n is 22 characters of base64url, fresh for every pull; after a dot, 8 of the connection if any",
    "lease": _LEASE_OR_AFTER,
    "after": _LEASE_OR_AFTER,
    "look": f"sample is a whole number from 0 to {MOST_SAMPLED}",
    "who": "who is at most 32 characters of base64url",
    "version": "version is a whole number from 0 on",
    "since": "since is a whole number from 0 on",
    "durable": _DURABLE_OR_BEGIN,
    "begin": _DURABLE_OR_BEGIN,
}
"""The error messages by member."""


@dataclass(frozen=True, slots=True)
class ChangesAnswer:
    """What changed, as the rows of a delta in the body encoding; `whole`: pull the version itself instead."""

    whole: bool
    data: bytes = b""

    def pack(self) -> bytes:
        return _pack({"changes": {"whole": self.whole, "data": self.data}})


def parse_changes(raw: bytes) -> ChangesAnswer:
    """The changes in `raw`. Raises the error that `raw` contains."""
    fields = _map(raw)
    if "error" in fields:
        raise error_of_fields(fields["error"])
    changes = fields.get("changes")
    if not isinstance(changes, dict) or not isinstance(changes.get("data"), bytes):
        raise WireError("The answer contains no changes")
    return ChangesAnswer(bool(changes.get("whole")), changes["data"])


def raise_error_of(raw: bytes) -> None:
    """Raise the error that an answer contains, if any."""
    fields = _map(raw)
    if "error" in fields:
        raise error_of_fields(fields["error"])


def pack_durable(name: str, feed: str) -> bytes:
    return _pack({"durable": name, "feed": feed})


def parse_durable_answer(raw: bytes) -> tuple[str, str]:
    """The name of the durable in the broker, and its feed. Raises the error that the answer contains."""
    fields = _map(raw)
    if "error" in fields:
        raise error_of_fields(fields["error"])
    return str(fields.get("durable", "")), str(fields.get("feed", ""))


def pack_preview(look: Preview) -> bytes:
    return _pack({"look": look.to_wire()})


def parse_preview(raw: bytes) -> Preview:
    """The preview in `raw`. Raises the error that `raw` contains."""
    fields = _map(raw)
    if "error" in fields:
        raise error_of_fields(fields["error"])
    return preview_of(fields.get("look"))


def parse_pull_confirmation(raw: bytes) -> PullConfirmation:
    """The confirmation in `raw`.

    Raises:
        WireError: it is not a confirmation.
    """
    if len(raw) > MOST_CONFIRMATION_BYTES:
        raise TooLargeError(f"A confirmation has at most {MOST_CONFIRMATION_BYTES} bytes")
    fields = _map(raw)
    lease, status, received, sent = (fields.get(name) for name in ("lease", "status", "bytes_received", "sent"))
    if not isinstance(lease, str) or len(lease) > MOST_TEXT or status not in _STATUSES:
        raise WireError('A confirmation is {"lease": …, "status": "success" | "failure"}')
    checksum = fields.get("checksum", "")
    if not isinstance(checksum, str) or len(checksum) > MOST_TEXT:
        raise WireError("checksum is sha256: and 64 characters of hex")
    return PullConfirmation(
        lease,
        status == "success",
        received if type(received) is int else 0,
        float(sent) if isinstance(sent, (int, float)) else 1.0,
        checksum.lower().removeprefix("sha256:"),
    )


def parse_answer(raw: bytes) -> PullAnswer:
    """The answer in `raw`. Raises the error that `raw` contains."""
    fields = _map(raw)
    if "error" in fields:
        raise error_of_fields(fields["error"])
    until, data = fields.get("until", -1), fields.get("data")
    if type(until) is not int or not (data is None or isinstance(data, bytes)):
        raise WireError("until is a whole number, and data are bytes")
    return PullAnswer(str(fields.get("lease", "")), body_info(fields.get("info")), data, until)


def _read(decoder: msgspec.msgpack.Decoder[T], raw: bytes, members: Mapping[str, str]) -> T:
    """The struct in `raw`. Raises WireError, with the message in `members` for the member that is wrong."""
    try:
        return decoder.decode(raw)
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
        name = str(error).partition("`$.")[2].rstrip("`")
        raise WireError(members.get(name, "This is no msgpack map"), reason=str(error)) from error


def _map(raw: bytes) -> dict[str, Any]:
    try:
        fields = msgpack.unpackb(raw)
    except (ValueError, msgpack.UnpackException) as error:
        raise WireError("This is no msgpack map", reason=str(error)) from error
    if not isinstance(fields, dict):
        raise WireError("This is no msgpack map")
    return fields


def _pack(fields: dict[str, Any]) -> bytes:
    packed: bytes = msgpack.packb(fields)
    return packed
