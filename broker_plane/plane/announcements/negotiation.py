"""A negotiation: a client asks an agent that it found how it would serve it, and checks the answer.

The request is `{"capabilities", "mode", "about"}`, with the capabilities of SEP-2433; the answer is `{"selected",
"reason", "level", "descriptor"?}`. Neither side trusts the other: both decide by what they know of themselves.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast, get_args

from broker_plane.errors import BrokerUnavailableError, EntryNotFoundError, PeerError, WireError
from broker_plane.plane.announcements.ports import ServiceAnswer, Services
from broker_plane.registry.agent_choice import AgentChoice, choose, parse_choice
from broker_plane.registry.announcement import AgentAnnouncement, ServedProtocol
from broker_plane.wire.capabilities import Capabilities, parse_capabilities
from broker_plane.wire.descriptor import Descriptor, Mode
from broker_plane.wire.exact_json import MALFORMED, dumps, loads
from broker_plane.wire.offers import Plain

MAX_REQUEST_BYTES = 64 << 10
MAX_ANSWER_BYTES = 256 << 10
ANSWER_SECONDS = 10.0
"""Maximum time in which an agent answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentQuestion:
    """What a client asks: `about` is for the agent's application, and `plain` says where plain text is accepted."""

    capabilities: Capabilities
    mode: Mode = "fetch"
    about: Mapping[str, Any] = field(default_factory=dict)
    plain: Plain = "loopback"


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentRequest:
    """What an agent is asked. `choice` is what it would select; `about` is for its application."""

    capabilities: Capabilities
    mode: Mode
    choice: AgentChoice
    about: Mapping[str, Any] = field(default_factory=dict)


MakeDescriptor = Callable[[AgentRequest], Awaitable[Descriptor | None]]
"""Makes a descriptor for a client; None leaves it with the selected entry. A BrokerPlaneError of it is the refusal."""


def negotiation_answer(serves: Sequence[ServedProtocol], make: MakeDescriptor | None, plain: Plain) -> ServiceAnswer:
    """What answers the requests to an agent that serves this; `plain` says where it offers plain text."""

    async def answer(payload: bytes) -> bytes:
        request = _request(payload, serves, plain)
        choice = request.choice
        if make is not None and choice.selected is not None:
            choice = replace(choice, descriptor=await make(request))
        return dumps(choice.to_wire())

    return answer


async def ask_agent(
    services: Services,
    subject: str,
    agent: AgentAnnouncement,
    asked: AgentQuestion,
    seconds: float,
) -> AgentChoice:
    """Ask the agent at `subject`, and return its choice after it was checked.

    Raises:
        EntryNotFoundError: it does not answer; it has probably ended. PeerError: it refuses, or its answer is invalid.
        WireError: the request is too large.
    """
    fields = {"capabilities": asked.capabilities.to_wire(), "mode": asked.mode, "about": dict(asked.about)}
    payload = dumps(fields)
    if len(payload) > MAX_REQUEST_BYTES:
        raise WireError(f"A negotiation has at most {MAX_REQUEST_BYTES} bytes; say less in about")
    try:
        raw = await services.ask(subject, payload, seconds)
    except BrokerUnavailableError as error:
        raise EntryNotFoundError(
            f"The agent {agent.agent_id} does not answer; it has probably ended. Search again", reason=error.reason
        ) from error
    if len(raw) > MAX_ANSWER_BYTES:
        raise PeerError(f"The agent's answer has {len(raw)} bytes; at most {MAX_ANSWER_BYTES} are read")
    try:
        answer = loads(raw)
    except MALFORMED:
        raise PeerError("The agent's answer is not JSON") from None
    return parse_choice(answer, agent.serves, asked.capabilities, asked.mode, asked.plain)


def _request(payload: bytes, serves: Sequence[ServedProtocol], plain: Plain) -> AgentRequest:
    try:
        fields = loads(payload)
    except MALFORMED:
        raise WireError("A negotiation is a JSON object; this is not JSON") from None
    if not isinstance(fields, dict):
        raise WireError('A negotiation is a JSON object such as {"capabilities": {"supportedProtocols": ["https"]}}')
    capabilities = parse_capabilities(fields.get("capabilities"))
    mode, about = fields.get("mode", "fetch"), fields.get("about", {})
    if mode not in get_args(Mode):
        raise WireError(f"mode is one of {', '.join(get_args(Mode))}")
    if not isinstance(about, dict):
        raise WireError("about is an object")
    asked = cast("Mode", mode)
    return AgentRequest(
        capabilities=capabilities, mode=asked, choice=choose(serves, capabilities, asked, plain), about=about
    )
