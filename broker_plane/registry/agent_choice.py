"""The choice among what a found agent serves: the best entry that a client can take, with the reason. Pure.

Order and reasons are those of descriptors (wire/offers.py): encrypted before plain text, protocols that the client
carries out itself (Level 1) before those that it learns from a description (Level 2).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pydantic import ValidationError

from broker_plane.errors import PeerError, WireError
from broker_plane.registry.announcement import ServedProtocol
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.descriptor import Description, Descriptor, Mode, parse_descriptor
from broker_plane.wire.offers import Cargo, Offer, Plain, Way, negotiate, rank
from broker_plane.wire.protocols import protocol_of

_NOTHING = UUID(int=0)
_ANY_FORMAT = "*/*"
_MAX_REASON = 500
_INLINE = "inline: "


@dataclass(frozen=True, slots=True)
class AgentChoice:
    """The result of a negotiation: the entry that was selected, or None; `reason` is for people.

    `level` is 1 or 2, and 0 without a selection. `descriptor` is what the agent made for this client, if it makes any.
    """

    selected: ServedProtocol | None
    reason: str
    level: Literal[0, 1, 2] = 0
    descriptor: Descriptor | None = None

    def to_wire(self) -> dict[str, Any]:
        """The answer to a negotiation, with ToMCP's members `selected` and `reason`."""
        fields: dict[str, Any] = {"selected": None, "reason": self.reason, "level": self.level}
        if self.selected is not None:
            fields["selected"] = self.selected.model_dump(mode="json")
        return fields | ({} if self.descriptor is None else {"descriptor": self.descriptor.to_wire()})


def choose(
    serves: Sequence[ServedProtocol], capabilities: Capabilities, mode: Mode = "fetch", plain: Plain = "loopback"
) -> AgentChoice:
    """The best of `serves` for a client with these capabilities; equal ones keep their order.

    An entry without formats is taken by any client. Plain text is chosen only for hosts that are `plain`.
    """
    fitting = [served for served in serves if mode in served.modes]
    if not fitting:
        return AgentChoice(None, f"the agent serves nothing in the mode {mode}")
    places: dict[int, ServedProtocol] = {}
    ways: list[Way] = []
    for served in fitting:
        for form in served.formats or (next(iter(capabilities.formats), _ANY_FORMAT),):
            descriptor = _candidate(served, form, mode)
            places[id(descriptor)] = served
            # A subject is on the NATS over which the agent was found, and as encrypted as the negotiation itself.
            ways.append(Way(descriptor, encrypted=True if served.protocol_id == "nats" else None))
    offer = rank(ways, Cargo(live=mode == "stream"), plain)
    if not offer.descriptors:
        return AgentChoice(None, "the agent serves in plain text only, to a host that is not near")
    known = tuple(map(_token, capabilities.protocols))
    found = negotiate(offer, capabilities.model_copy(update={"protocols": known, "threshold": None}))
    if found.descriptor is None:
        return AgentChoice(None, found.reason.removeprefix(_INLINE))
    selected = places[id(found.descriptor)]
    does = "carries out" if found.level == 1 else "can learn"
    return AgentChoice(selected, f"level {found.level}: the client {does} {selected.protocol_id}", found.level)


def parse_choice(
    fields: Any,
    serves: Sequence[ServedProtocol],
    capabilities: Capabilities,
    mode: Mode = "fetch",
    plain: Plain = "loopback",
) -> AgentChoice:
    """The choice in an agent's answer, if it is one of `serves` that a client with these capabilities can take.

    Raises:
        PeerError: it is not; nothing of the answer is used.
    """
    if not isinstance(fields, dict) or not isinstance(reason := fields.get("reason"), str):
        raise PeerError("The agent's answer has no reason; it does not negotiate as this client does")
    reason = " ".join(reason.split())[:_MAX_REASON]
    if fields.get("selected") is None:
        return AgentChoice(None, reason)
    try:
        selected = ServedProtocol.model_validate(fields["selected"])
        descriptor = None if fields.get("descriptor") is None else parse_descriptor(fields["descriptor"])
    except (ValidationError, WireError):
        raise PeerError("The agent's answer has an invalid entry or descriptor") from None
    if selected not in serves:
        raise PeerError("The agent selected what it has not announced; search for it again")
    # The client decides what it can take, whatever the agent says.
    own = choose([selected], capabilities, mode, plain)
    if own.selected is None:
        raise PeerError(f"The agent selected {selected.protocol_id}, which this client cannot take: {own.reason}")
    if descriptor is not None and (why := _unfit(descriptor, capabilities, mode)):
        raise PeerError(f"The agent made a descriptor that this client cannot take: {why}")
    return AgentChoice(selected, reason, own.level, descriptor)


def _unfit(descriptor: Descriptor, capabilities: Capabilities, mode: Mode) -> str:
    if descriptor.mode != mode:
        return f"its mode is {descriptor.mode}, not {mode}"
    found = negotiate(Offer((descriptor,)), capabilities.model_copy(update={"threshold": None}))
    return "" if found.descriptor is not None else found.reason.removeprefix(_INLINE)


def _candidate(served: ServedProtocol, form: str, mode: Mode) -> Descriptor:
    """A descriptor with which the entry is ranked and negotiated; it is never sent."""
    name = served.protocol_id.partition("@")[0]
    native = bool(protocol_of(name).name)
    return Descriptor(
        transfer_id=str(_NOTHING),
        mode="fetch" if mode == "collaborate" else mode,
        protocol=_token(name),
        endpoint=served.endpoint,
        format=form,
        description=None if native else Description(tier="high", text=served.protocol_id),
    )


def _token(protocol_id: str) -> str:
    """The id as a descriptor's protocol can be written: `owner/name@1.2` is `owner.name`."""
    name = protocol_id.partition("@")[0].lower().replace("/", ".").replace("_", "-")
    return name if name[:1].isalpha() else f"x{name}"
