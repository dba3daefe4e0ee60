"""The JWTs of an auth callout (nats-server, ADR-26): the server's request, and the response to it. Pure.

Only what clients that connect with a grant need. A JWT's `jti` is the base32 of the SHA-512/256 of its claims.
"""

from __future__ import annotations

import re
from base64 import b32encode
from dataclasses import dataclass
from hashlib import new as new_hash
from typing import Any

import orjson

from broker_plane.errors import WireError
from broker_plane.wire.durables import GUESTS_DURABLE, guest_durable
from broker_plane.wire.exact_json import MALFORMED, loads
from broker_plane.wire.grant import Grant, Kind
from broker_plane.wire.names import GUEST, asker_inbox, asker_of, decode_id, encode_id
from broker_plane.wire.nkey import account_of, sign
from broker_plane.wire.plane_names import DEFAULT_NAMES, Names
from broker_plane.wire.session_roles import accesses

_HEADER = {"typ": "JWT", "alg": "ed25519-nkey"}
_MOST_SUBSCRIPTIONS = 64
"""Maximum number of subscriptions of a connection with a grant: answers, deliveries, and an inbox for each feed that it
follows.
"""

_MOST_BYTES = 65_536
_USER = re.compile(r"[a-z2-7]{26}\.([0-9a-f]{32})\Z")


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

    def admit(self, asked: CalloutRequest, grant: Grant, now: float) -> bytes:
        """Admit the connection until its grant expires. `grant` is what its token contains.

        It may pull with it under its asker's name, and do nothing else. With a grant for a feed it may also receive the
        notices of its own durable. With a grant for a session it may only request what its role has access to, and
        hear that session.
        """
        user = {
            "aud": GUEST,
            "sub": asked.user,
            "name": user_of(asked.token, grant),
            "exp": grant.expires,
            "nats": {
                "type": "user",
                "version": 2,
                "subs": _MOST_SUBSCRIPTIONS,
                "data": -1,
                "payload": -1,
                **_permissions(self.names, asked.token, grant),
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


def user_of(text: str, grant: Grant) -> str:
    """The name of the user that a connection with the grant `text` becomes: nats-server lists it with the connection.

    It ends in the grant id, so that every bridge finds the connections of a revoked grant.
    """
    return f"{asker_of(text)}.{grant.id}"


def grant_id_of_user(user: str) -> str | None:
    """The grant id in a name that `user_of` made; None for a user of the server's configuration."""
    match = _USER.match(user)
    return match[1] if match else None


def _permissions(names: Names, text: str, grant: Grant) -> dict[str, Any]:
    """Literal subjects: a wildcard could match another body, grant or asker."""
    asker = asker_of(text)
    publish, subscribe = (
        _of_session(names, text, grant) if grant.kind is Kind.SESSION else _of_pulls(names, text, grant)
    )
    return {"pub": {"allow": publish}, "sub": {"allow": [*subscribe, f"{asker_inbox(asker)}.>"]}}


def _of_pulls(names: Names, text: str, grant: Grant) -> tuple[list[str], list[str]]:
    """The subjects on which a puller may publish, and those to which it may subscribe."""
    asker = asker_of(text)
    publish = [f"{names.pull_subject(text)}.{asker}", f"{names.confirm_subject(text)}.{asker}"]
    if grant.kind is Kind.FEED:
        publish += names.durable_subjects(guest_durable(asker, GUESTS_DURABLE))
    return publish, [names.delivery_subject(asker, ">")]


def _of_session(names: Names, text: str, grant: Grant) -> tuple[list[str], list[str]]:
    """The subjects of a participant: requests by the accesses of its role, and what everybody in the session hears."""
    asker = asker_of(text)
    role = grant.scope.role or "observer"
    publish = [f"{names.say_subject(access, text)}.{asker}" for access in sorted(accesses(role))]
    return publish, [names.said_subject(grant.body), names.here_subject(grant.body)]
