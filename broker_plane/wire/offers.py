"""Offers: the ways to transfer one body, ranked by SEP-2433's hierarchy, and the choice of the one that a client takes.

The order is security, then efficiency, then overhead. Plain text to a public host is never offered. Plain text to a
near host is offered only if that is allowed and, if the client declares its capabilities, it declares that protocol.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.capabilities import Capabilities, media_type_of
from broker_plane.wire.descriptor import Descriptor, Schema
from broker_plane.wire.hosts import Nearness, nearness
from broker_plane.wire.protocols import BUILT_IN, Protocol, protocol_of, scheme_of

LARGE_BYTES = 8 << 20
"""From this size on, a transfer that can be resumed is worth more than a cheaper one."""

COMPRESSED_BYTES = 1 << 20
FAN_OUT = 4
"""From this number of consumers on, a broker is better than as many requests."""

Plain = Literal["never", "loopback", "private"]
"""The hosts to which plain text may be offered."""

_ALLOWED: dict[Plain, frozenset[Nearness]] = {
    "never": frozenset(),
    "loopback": frozenset({"loopback"}),
    "private": frozenset({"loopback", "private"}),
}
_LAST = 1 << 30
_TEXT = frozenset({"application/json", "application/x-ndjson", "text/csv", "text/event-stream"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Cargo:
    """What is to be transferred: `size` in bytes (None: unknown or unlimited), and the expected number of consumers."""

    kind: Literal["rows", "bytes"] = "bytes"
    size: int | None = None
    consumers: int = 1
    live: bool = False


@dataclass(frozen=True, slots=True)
class Way:
    """A descriptor that could be offered. `encrypted` and `near` say what its endpoint does not, as for a subject."""

    descriptor: Descriptor
    encrypted: bool | None = None
    near: Nearness | None = None

    def plain(self, known: Mapping[str, Protocol] = BUILT_IN) -> bool:
        """Whether it goes in plain text; a transport whose encryption is unknown counts as plain text."""
        if self.encrypted is not None:
            return not self.encrypted
        scheme = scheme_of(self.descriptor.endpoint, known)
        secure = protocol_of(self.descriptor.protocol, known).secure if scheme is None else scheme.encrypted
        return not secure


@dataclass(frozen=True, slots=True)
class Offer:
    """Descriptors for one body, best first."""

    descriptors: tuple[Descriptor, ...] = ()

    def to_wire(self, first: Descriptor | None = None, schema: Schema | None = None) -> dict[str, Any] | None:
        """The best descriptor, with the others as its `alternatives`; None if there is nothing to offer."""
        chosen = first or next(iter(self.descriptors), None)
        if chosen is None:
            return None
        others = [each.to_wire(schema) for each in self.descriptors if each != chosen]
        return chosen.to_wire(schema) | ({"alternatives": others} if others else {})


@dataclass(frozen=True, slots=True)
class NegotiatedOffer:
    """The result of a negotiation: a descriptor, or None for inline; `reason` is for people and the audit log."""

    descriptor: Descriptor | None
    reason: str
    level: Literal[0, 1, 2] = field(default=0)


def rank(
    ways: Sequence[Way], cargo: Cargo, plain: Plain = "loopback", known: Mapping[str, Protocol] = BUILT_IN
) -> Offer:
    """The ways that may be offered, best first; equal ones keep their order. `known` are the records of protocols."""
    allowed = [way for way in ways if not way.plain(known) or _near(way) in _ALLOWED[plain]]
    return Offer(tuple(way.descriptor for way in sorted(allowed, key=lambda way: _cost(way, cargo, known))))


def negotiate(offer: Offer, capabilities: Capabilities | None, *, size: int | None = None) -> NegotiatedOffer:
    """The first descriptor that the client can take, at Level 1 before Level 2; otherwise inline, with the reasons.

    `size` is in bytes; a body below the client's threshold goes inline.
    """
    if capabilities is None:
        return NegotiatedOffer(None, "inline: the client declares no capabilities for descriptors")
    if not offer.descriptors:
        return NegotiatedOffer(None, "inline: there is nothing to offer")
    if size is not None and capabilities.threshold is not None and size < capabilities.threshold:
        return NegotiatedOffer(
            None, f"inline: {size} bytes are below the client's threshold of {capabilities.threshold}"
        )
    why: list[str] = []
    for descriptor in offer.descriptors:
        problem = _problem(descriptor, capabilities)
        if not problem and descriptor.protocol in capabilities.protocols:
            return NegotiatedOffer(descriptor, f"level 1: the client carries out {descriptor.protocol}", 1)
        why.append(problem or f"the client does not support {descriptor.protocol}")
    for descriptor in offer.descriptors:
        if _can_learn(descriptor, capabilities) and not _problem(descriptor, capabilities):
            return NegotiatedOffer(descriptor, f"level 2: the client reads how {descriptor.protocol} goes", 2)
    return NegotiatedOffer(None, f"inline: {'; '.join(dict.fromkeys(why))}")


def for_client(offer: Offer, capabilities: Capabilities | None) -> Offer:
    """The offer without descriptors that only generated code could carry out, unless the client declares `level2`."""
    learns = capabilities is not None and capabilities.level2
    native = capabilities.protocols if capabilities is not None else ()
    left = (each for each in offer.descriptors if learns or each.description is None or each.protocol in native)
    return Offer(tuple(left))


def _near(way: Way) -> Nearness:
    return way.near or nearness(way.descriptor.endpoint)


def _problem(descriptor: Descriptor, capabilities: Capabilities) -> str:
    """Why a client that knows the protocol still cannot take the descriptor; empty if it can."""
    if capabilities.formats and media_type_of(descriptor.format) not in capabilities.media_types:
        return f"{descriptor.protocol} delivers {descriptor.format}, which the client does not accept"
    compression = descriptor.compression or "none"
    if compression != "none" and capabilities.compressions and compression not in capabilities.compressions:
        return f"{descriptor.protocol} delivers {compression}, which the client does not decompress"
    return ""


def _can_learn(descriptor: Descriptor, capabilities: Capabilities) -> bool:
    """Level 2 code is written from a description, for a runtime that both sides have."""
    if not capabilities.level2 or descriptor.description is None:
        return False
    return descriptor.sandbox is None or descriptor.sandbox.runtime in capabilities.runtimes


def _cost(way: Way, cargo: Cargo, known: Mapping[str, Protocol]) -> tuple[tuple[int, ...], ...]:
    """Smaller is better: security, then efficiency, then overhead (SEP-2433, section 3.5)."""
    protocol = protocol_of(way.descriptor.protocol, known)
    return (
        _risk(way, protocol, plain=way.plain(known)),
        _effort(way.descriptor, protocol, cargo),
        _overhead(way.descriptor, protocol, cargo),
    )


def _risk(way: Way, protocol: Protocol, *, plain: bool) -> tuple[int, ...]:
    descriptor = way.descriptor
    # Only a whole body can be verified, so this holds for mode fetch alone.
    verified = descriptor.checksum is not None or (descriptor.mode == "fetch" and protocol.verifies)
    return (plain, not verified, descriptor.expires is None)


def _effort(descriptor: Descriptor, protocol: Protocol, cargo: Cargo) -> tuple[int, ...]:
    learnt = descriptor.description is not None
    if cargo.live:
        return (_last_if_none(protocol.live_rank), learnt)
    if cargo.consumers >= FAN_OUT:
        return (_last_if_none(protocol.fan_out_rank), learnt)
    # Only stored bytes have ranges: what is made while it is sent cannot be resumed, and has no size.
    resumes = protocol.resumable and descriptor.size_hint is not None
    large = cargo.size is not None and cargo.size >= LARGE_BYTES
    return (large and not resumes, learnt)


def _overhead(descriptor: Descriptor, protocol: Protocol, cargo: Cargo) -> tuple[int, ...]:
    text = media_type_of(descriptor.format) in _TEXT
    large = cargo.size is not None and cargo.size >= COMPRESSED_BYTES
    bare = (descriptor.compression or "none") == "none"
    return (text, large and text and bare, not protocol.stays_open)


def _last_if_none(rank: int | None) -> int:
    return _LAST if rank is None else rank


def default_of(offer: Offer) -> Descriptor | None:
    """The descriptor for a client that declares nothing: one whose bytes can be read without this package."""
    native = for_client(offer, None).descriptors
    known = [each for each in native if each.format != ROWS_TYPE]
    return next(iter(known or native), None)
