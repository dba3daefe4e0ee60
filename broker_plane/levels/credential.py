"""The credential of a descriptor, as the host adds it to requests of generated code for the endpoint's own origin."""

from __future__ import annotations

import hmac
from dataclasses import dataclass

from broker_plane.client.guard import RequestTarget
from broker_plane.errors import UntrustedHostError
from broker_plane.levels.reach_list import EndpointPlace, endpoint_place
from broker_plane.sandbox.ports import DoorRefusedError
from broker_plane.transfer.auth import check_auth
from broker_plane.transfer.secret_filter import SecretFilter, spellings
from broker_plane.wire.descriptor import Auth, Descriptor
from broker_plane.wire.protocols import HTTP_SCHEMES

_HTTP = frozenset(scheme.name for scheme in HTTP_SCHEMES)


@dataclass(frozen=True, slots=True)
class EndpointCredential:
    """`auth` is for requests to `place` only; None of either: there is no credential."""

    auth: Auth | None
    place: EndpointPlace | None

    @classmethod
    def of(cls, descriptor: Descriptor) -> EndpointCredential:
        """The credential of a descriptor."""
        auth = descriptor.auth
        return cls(auth if auth is not None and auth.type != "none" else None, endpoint_place(descriptor.endpoint))

    def sent_to(self, target: RequestTarget) -> bool:
        """Whether requests to `target` carry it: scheme, host and port are the endpoint's. An endpoint whose scheme is
        not http or https has no such scheme to compare.

        Raises:
            DoorRefusedError: they would carry it over a network in plain text.
        """
        place, auth = self.place, self.auth
        if (
            auth is None
            or auth.type == "hmac"
            or place is None
            or (place.host, place.port) != (target.host, target.port)
        ):
            return False
        if place.scheme in _HTTP and place.scheme != target.scheme.name:
            return False
        try:
            check_auth(auth, target)
        except UntrustedHostError as error:
            raise DoorRefusedError(str(error)) from None
        return True

    def hmac_sha256(self, message: object) -> bytes:
        """HMAC-SHA256 of `message` with the secret.

        Raises:
            DoorRefusedError: the credential is not of the kind hmac, or `message` is not bytes.
        """
        if self.auth is None or self.auth.type != "hmac":
            raise DoorRefusedError("hmac_sha256 needs a descriptor whose auth is of the kind hmac")
        if not isinstance(message, bytes):
            raise DoorRefusedError("hmac_sha256 takes bytes")
        return hmac.digest((self.auth.value or "").encode(), message, "sha256")

    def filter(self) -> SecretFilter:
        """A filter for one response. The secret of hmac is never sent, so nothing can repeat it."""
        sent = self.auth is not None and self.auth.type != "hmac"
        return SecretFilter(spellings(self.auth.value or "") if sent and self.auth is not None else [])
