"""The JWTs of an auth callout (nats-server, ADR-26): the server's request, and the response to it. Pure.

Only what pullers that connect with a grant need. A JWT's `jti` is the base32 of the SHA-512/256 of its claims.
"""

from __future__ import annotations

from base64 import b32encode
from dataclasses import dataclass
from hashlib import new as new_hash
from typing import Any

import orjson

from broker_plane.errors import WireError
from broker_plane.wire.durables import GUESTS_DURABLE, guest_durable
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.grant import Kind
from broker_plane.wire.names import GUEST, asker_inbox, asker_of, decode_id, encode_id
from broker_plane.wire.nkey import account_of, sign
from broker_plane.wire.plane_names import DEFAULT_NAMES, Names

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_MOST_SUBSCRIPTIONS = 64
"""Maximum number of subscriptions of a connection with a grant: answers, deliveries, and an inbox for each feed that it
follows.
"""

_MOST_BYTES = 65_536


@dataclass(frozen=True, slots=True)
class CalloutRequest:
    """A connection that asks to be admitted: the key that the server made for the user, the server itself, and the
    token.
    """

    user: str
    server: str
    token: str


@dataclass(frozen=True, slots=True)
class Issuer:
    """Signs with the account key that the server's configuration names."""

    seed: str
    names: Names = DEFAULT_NAMES

    def admit(self, asked: CalloutRequest, grant: str, expires: int, now: float, kind: Kind = Kind.BODY) -> bytes:
        """Admit the connection until `expires`: it may pull with `grant` under its asker's name, and do nothing else.

        With a grant for a feed it may also receive the notices of its own durable.
        """
        asker = asker_of(grant)
        user = {
            "aud": GUEST,
            "sub": asked.user,
            "name": asker,
            "exp": expires,
            "nats": {
                "type": "user",
                "version": 2,
                "subs": _MOST_SUBSCRIPTIONS,
                "data": -1,
                "payload": -1,
                **_permissions(self.names, grant, asker, kind),
            },
        }
        return self._answer(asked, {"jwt": self._signed(user, now)}, now)

    def refuse(self, asked: CalloutRequest, now: float) -> bytes:
        """Refuse the connection, without a reason."""
        return self._answer(asked, {"error": "refused"}, now)

    def _answer(self, asked: CalloutRequest, outcome: dict[str, Any], now: float) -> bytes:
        claims = {"type": "authorization_response", "version": 2, **outcome}
        return self._signed({"aud": asked.server, "sub": asked.user, "nats": claims}, now).encode()

    def _signed(self, claims: dict[str, Any], now: float) -> str:
        claims = claims | {"iss": account_of(self.seed), "iat": int(now)}
        digest = new_hash("sha512_256", orjson.dumps(claims)).digest()
        claims["jti"] = b32encode(digest).decode().rstrip("=")
        text = f"{encode_id(orjson.dumps(_HEADER))}.{encode_id(orjson.dumps(claims))}"
        return f"{text}.{encode_id(sign(self.seed, text.encode()))}"


def parse_callout(raw: bytes) -> CalloutRequest:
    """The server's request. Its signature is not verified: nobody else may publish in the callout's account.

    Raises:
        WireError: it is not such a request.
    """
    try:
        if len(raw) > _MOST_BYTES:
            raise ValueError("too long")
        claims = loads(decode_id(raw.decode().split(".")[1]))["nats"]
        token = claims["connect_opts"].get("auth_token", "")
        asked = CalloutRequest(claims["user_nkey"], claims["server_id"]["id"], token)
    except (*MALFORMED, ValueError, KeyError, IndexError, TypeError, AttributeError) as error:
        raise WireError("This is not a request of an auth callout") from error
    if not all(isinstance(text, str) for text in (asked.user, asked.server, asked.token)):
        raise WireError("This is not a request of an auth callout")
    return asked


def _permissions(names: Names, grant: str, asker: str, kind: Kind) -> dict[str, Any]:
    """Literal subjects: a wildcard could match another body, grant or asker."""
    publish = [f"{names.pull_subject(grant)}.{asker}", f"{names.confirm_subject(grant)}.{asker}"]
    if kind is Kind.FEED:
        publish += names.durable_subjects(guest_durable(asker, GUESTS_DURABLE))
    subscribe = [names.delivery_subject(asker, ">"), f"{asker_inbox(asker)}.>"]
    return {"pub": {"allow": publish}, "sub": {"allow": subscribe}}
