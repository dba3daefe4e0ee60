"""What every part of a Plane works with: the wiring, the ways to pull, and who may do what."""

from __future__ import annotations

from collections.abc import Sequence
from time import time
from typing import Literal

from broker_plane.client.http import HttpPuller
from broker_plane.config import Settings
from broker_plane.errors import NotPermittedError
from broker_plane.plane.ports import Puller
from broker_plane.runtime import arguments
from broker_plane.runtime.feeding import Feeding, feeding
from broker_plane.runtime.narrowing import Less, Narrowed, RowsAsked, narrowed
from broker_plane.runtime.own_bridges import trust_of
from broker_plane.runtime.roles import NatsWay
from broker_plane.runtime.wiring import Wiring
from broker_plane.storage.readiness import UNKNOWN
from broker_plane.wire.plane_names import Names
from broker_plane.wire.urls import data_url

Via = Literal["nats", "http"]


class Parts:
    """The base of Plane's parts."""

    def __init__(self, wiring: Wiring | None, settings: Settings, bridge_url: str, *, nats: NatsWay, name: str) -> None:
        self.settings = settings
        self.bridge_url = bridge_url
        self._wired = wiring
        self._feeding: Feeding | None = None
        self.name = name
        self._nats = nats
        self._http = HttpPuller(
            trust_of(settings, bridge_url),
            timeout=settings.pull_timeout_seconds,
            token=settings.token.get_secret_value(),
            max_bytes=settings.max_body_bytes,
            unsized_bytes=settings.max_unsized_bytes,
        )

    @property
    def offers_subjects(self) -> bool:
        """Whether a presigned subject may be handed on; see `Published.offers_subject`."""
        return self._wired is None or self._wired.guests

    @property
    def durability(self) -> str:
        """What an acknowledged publish survives, e.g. "fsync before ack"."""
        return self._wired.durability if self._wired else UNKNOWN

    @property
    def feeds(self) -> Feeding:
        """Versions, durables and dead letters of feeds. Needs the rights of the user plane."""
        if self._feeding is None:
            self._feeding = feeding(self._reading, self.settings)
        return self._feeding

    def narrow(
        self,
        address: str,
        *,
        columns: Sequence[str] | None = None,
        rows: RowsAsked | None = None,
        first: int | None = None,
        where: str | None = None,
        ttl: float | None = None,
        uses: int | None = None,
        audience: str | None = None,
        bytes: int | None = None,
        formats: Sequence[str] | None = None,
    ) -> Narrowed:
        """A grant that shows less than the one in `address` (a URL, a presigned subject, or the grant); asks nobody.

        `rows` are ids and ranges ("0-99,200"), `where` is a comparison over columns that the grant shows, `first`
        leaves so many of the rows after both; `ttl` is in seconds, `uses` counts completed deliveries, `audience` is
        the one name that may pull, `bytes` the most of one delivery, `formats` are media types (docs/grants.md).

        Raises:
            SelectorError, WireError, TooLargeError: it cannot be narrowed so.
        """
        less = Less(
            columns=columns,
            rows=rows,
            first=first,
            where=where,
            ttl=ttl,
            uses=uses,
            audience=audience,
            bytes=bytes,
            formats=formats,
        )
        return self.narrowed(address, less)

    def narrowed(self, address: str, less: Less) -> Narrowed:
        """As `narrow`."""
        address = arguments.address(address)
        names = Names(self.settings.prefix)
        now = self._wired.now() if self._wired else time()
        return narrowed(address, less, bridge_url=self.bridge_url, names=names, now=now)

    def trusts(self, url: str) -> str:
        """The grant in `url`; raises UntrustedHostError where the settings do not let it be followed."""
        return self._http.trust.check(url)

    def _puller(self, address: str, via: Via | None) -> Puller:
        """NATS for a subject and for our own bridge's URLs, which is the shorter way there; else HTTP."""
        address = arguments.address(address)
        if "://" not in address or (self._wired is None and not self.bridge_url):
            return self._nats
        if via == "http":
            return self._http
        self.trusts(address)
        ours = address.strip().startswith(self.bridge_url.rstrip("/") + "/")
        return self._nats if via == "nats" or ours else self._http

    def url_of(self, grant: str) -> str:
        """The `resource_url` of a grant, at this plane's bridge."""
        return data_url(self.bridge_url, grant)

    async def vouch(self, grant: str, *words: str) -> str:
        """A seal on `words` about a grant, which every process with its owner's keys can check (`vouched`).

        Raises:
            GrantRefusedError: they are not known here.
        """
        return await self._wiring.grants.vouch(grant, *words)

    async def vouched(self, grant: str, seal: str, *words: str) -> bool:
        """Whether `vouch` made `seal`, here or elsewhere. Raises as it does."""
        return await self._wiring.grants.vouched(grant, seal, *words)

    @property
    def wiring(self) -> Wiring:
        """The parts of this plane, for a bridge of this process.

        Raises:
            NotPermittedError: it only pulls.
        """
        return self._wiring

    @property
    def _reading(self) -> Wiring:
        """For what only the user plane may do, so that another learns it here and not by NATS's refusal."""
        if self.settings.role != "plane":
            raise NotPermittedError(
                f"With BROKER_PLANE_ROLE={self.settings.role} nothing stored can be looked at: ask where the plane runs"
            )
        return self._wiring

    @property
    def _wiring(self) -> Wiring:
        if self._wired is None:
            raise NotPermittedError(
                "This process only pulls (BROKER_PLANE_ROLE=guest); publishing needs a resource server's user"
            )
        return self._wired
