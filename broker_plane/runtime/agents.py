"""`plane.agents`: announces agents, finds those that others announce, and negotiates with them (docs/protocols.md)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from secrets import token_bytes
from typing import Any

from broker_plane import __version__
from broker_plane.broker.micro import NatsServices
from broker_plane.config import Settings
from broker_plane.plane.announcements.directory import AgentDirectory, AgentSearchResult
from broker_plane.plane.announcements.negotiation import (
    ANSWER_SECONDS,
    MAX_REQUEST_BYTES,
    AgentQuestion,
    MakeDescriptor,
    ask_agent,
    negotiation_answer,
)
from broker_plane.plane.announcements.ports import ServiceDescription, ServiceEndpoint
from broker_plane.registry.agent_choice import AgentChoice
from broker_plane.registry.agent_search import AgentQuery, Direction, FoundAgent
from broker_plane.registry.announcement import AgentAnnouncement, AgentProfile, parse_profile
from broker_plane.runtime import arguments
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.buckets import NatsBucket
from broker_plane.wire.capabilities import Capabilities
from broker_plane.wire.descriptor import Mode
from broker_plane.wire.names import argument_id

SERVICE = "agents"
"""The name of the service (ADR-32): `$SRV.INFO.agents` asks every agent that is announced."""

_MAX_METADATA = 1024


class Agents:
    """Announcements of agents. This needs the role `plane`. `capabilities` are what `plane.transfers` declares."""

    def __init__(self, wiring: Wiring, settings: Settings, capabilities: Callable[[], Capabilities]) -> None:
        self._connection = wiring.connection
        self._settings = settings
        self._capabilities = capabilities
        self._services = NatsServices(wiring.connection)
        bucket = NatsBucket(wiring.connection, wiring.connection.names.agents_bucket)
        self._directory = AgentDirectory(bucket, now=wiring.now)

    def announce(
        self, profile: AgentProfile | Mapping[str, Any], *, make_descriptor: MakeDescriptor | None = None
    ) -> AbstractAsyncContextManager[AgentAnnouncement]:
        """`async with plane.agents.announce({"agent_id": "crm", "serves": […]}):` be found for the time of the block.

        `profile` has ToMCP's members (docs/protocols.md). A heartbeat renews the announcement; after the death of this
        process it is gone within `ttl` seconds. Several processes may announce the same `agent_id`, each with an
        `instance` of its own. `make_descriptor` answers clients that negotiate; without it they get the entry of
        `serves` that fits them best.

        Raises:
            RegistryError: the profile is not valid, too large, or contains a credential.
            StoreFullError, BrokerUnavailableError: it could not be announced.
        """
        return self._announced(
            profile if isinstance(profile, AgentProfile) else parse_profile(profile), make_descriptor
        )

    async def search(
        self,
        text: str = "",
        *,
        protocol: str = "",
        format: str = "",
        mode: Mode | None = None,
        direction: Direction | None = None,
        level2: bool | None = None,
        payload_bytes: int = 0,
        limit: int = 100,
    ) -> AgentSearchResult:
        """Return the agents that match everything that is given. None of their endpoints is contacted.

        `protocol` is an id, or `id@range` such as `acme/orders@^1.2`; `format` a media type, with `*` for any text;
        `direction` is "serves" or "consumes". `text` is words of ids and names. `payload_bytes` leaves out agents that
        take less.

        Raises:
            RegistryError: an argument is not valid.
        """
        if direction is not None:
            arguments.one_of(direction, "direction", "serves", "consumes")
        query = AgentQuery(
            text=text,
            protocol=protocol,
            format=format,
            mode=mode,
            direction=direction,
            level2=level2,
            payload_bytes=payload_bytes,
        )
        return await self._directory.search(query, limit)

    async def get(self, agent_id: str) -> list[AgentAnnouncement]:
        """Return the announcements of one agent, one for each process that announces it.

        Raises:
            EntryNotFoundError: nobody announces it.
        """
        return await self._directory.get(agent_id)

    async def negotiate(
        self,
        found: FoundAgent | AgentAnnouncement,
        capabilities: Capabilities | None = None,
        *,
        mode: Mode = "fetch",
        about: Mapping[str, Any] | None = None,
        seconds: float = ANSWER_SECONDS,
    ) -> AgentChoice:
        """Ask a found agent over NATS how it would serve this client, and return its choice with the reason.

        `capabilities` are by default what `plane.transfers` carries out. `about` says what is wanted, in the words of
        the agent's application. A `descriptor` in the choice is for `plane.transfers`.

        Raises:
            EntryNotFoundError: the agent does not answer within `seconds`. PeerError: it refuses, or selects what it
            has not announced or what this client cannot take.
        """
        agent = found.announcement if isinstance(found, FoundAgent) else found
        subject = self._connection.names.negotiation_subject(agent.agent_id, agent.instance)
        asked = AgentQuestion(
            capabilities=capabilities or self._capabilities(),
            mode=mode,
            about=about or {},
            plain=self._settings.plain_http,
        )
        return await ask_agent(self._services, subject, agent, asked, seconds)

    @asynccontextmanager
    async def _announced(
        self, profile: AgentProfile, make_descriptor: MakeDescriptor | None
    ) -> AsyncIterator[AgentAnnouncement]:
        instance = argument_id(token_bytes(16))
        endpoint = ServiceEndpoint(
            name="negotiate",
            subject=self._connection.names.negotiation_subject(profile.agent_id, instance),
            answer=negotiation_answer(profile.serves, make_descriptor, self._settings.plain_http),
            max_bytes=MAX_REQUEST_BYTES,
            seconds=ANSWER_SECONDS,
        )
        # An agent that is found can be asked: the service starts before the announcement, and ends after it.
        async with (
            self._services.serving(self._service(profile, instance), endpoint),
            self._directory.announced(profile, instance) as announcement,
        ):
            yield announcement

    def _service(self, profile: AgentProfile, instance: str) -> ServiceDescription:
        formats = [form for served in profile.serves for form in served.formats]
        return ServiceDescription(
            name=SERVICE,
            id=instance,
            version=__version__,
            description=profile.name or profile.agent_id,
            metadata={
                "agent_id": profile.agent_id,
                "plane": self._connection.names.prefix,
                "protocols": _listed(served.protocol_id for served in profile.serves),
                "formats": _listed(formats),
                "consumes": _listed(profile.consumes),
            },
        )


def _listed(names: Any) -> str:
    """The names without repetitions, comma-separated; cut at a name where there are too many."""
    text = ""
    for name in dict.fromkeys(names):
        longer = f"{text},{name}" if text else name
        if len(longer) > _MAX_METADATA:
            break
        text = longer
    return text
