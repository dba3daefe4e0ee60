"""nkeys and the JWTs of the callout: as nats-server and nkeys.py read them, and literal in what they permit."""

from __future__ import annotations

from base64 import b32decode, b32encode
from hashlib import new as new_hash

import orjson
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import ConfigError, WireError
from broker_plane.wire.callout import CalloutRequest, Issuer, grant_id_of_user, parse_callout
from broker_plane.wire.caveats import SessionRole
from broker_plane.wire.grant import Grant, Key, Kind, narrow, seal, unseal
from broker_plane.wire.names import asker_of, body_id, decode_id, encode_id
from broker_plane.wire.nkey import account_of, account_seed, check_seed
from broker_plane.wire.session_roles import Role

SEED = "SAAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYMHI"
"""Of the bytes 0 to 31; seed and account are what nkeys.py 0.2.1 makes of them."""
ACCOUNT = "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QPZV"
KEY = Key(b"k" * 32)
BODY = Grant(body=body_id(b"b" * 16), grant_id=b"g" * 16, expires=1_700_000_600)
GRANT = seal(BODY, KEY)
ASKED = CalloutRequest("UUSER", "NSERVER", GRANT)


def claims_of(jwt: str) -> dict[str, object]:
    """The claims of a JWT whose seal holds."""
    head, body, signature = jwt.split(".")
    assert orjson.loads(decode_id(head)) == {"typ": "JWT", "alg": "ed25519-nkey"}
    claims: dict[str, object] = orjson.loads(decode_id(body))
    issuer = b32decode(str(claims["iss"]))[1:-2]
    Ed25519PublicKey.from_public_bytes(issuer).verify(decode_id(signature), f"{head}.{body}".encode())
    bare = {name: value for name, value in claims.items() if name != "jti"}
    digest = new_hash("sha512_256", orjson.dumps(bare)).digest()
    assert claims["jti"] == b32encode(digest).decode().rstrip("=")
    return claims


def test_a_seed_and_its_account_are_those_of_nkeys() -> None:
    assert account_seed(bytes(range(32))) == SEED
    assert account_of(SEED) == ACCOUNT
    assert check_seed(SEED) == SEED


@pytest.mark.parametrize("seed", ["", "SA", SEED[:-1], SEED[:-1] + "A", SEED.lower(), "SU" + SEED[2:], SEED + "A", "é"])
def test_what_is_no_seed_of_an_account_is_refused(seed: str) -> None:
    with pytest.raises(ConfigError, match="seed"):
        check_seed(seed)


def test_who_is_let_in_may_name_its_grant_and_itself_and_nothing_wider() -> None:
    opened = unseal(GRANT, KEY)
    answer = claims_of(Issuer(SEED).admit(ASKED, opened, 1_700_000_000.5).decode())
    assert (answer["aud"], answer["sub"], answer["iss"]) == ("NSERVER", "UUSER", ACCOUNT)
    response = answer["nats"]
    assert isinstance(response, dict)
    user = claims_of(response.pop("jwt"))
    assert response == {"type": "authorization_response", "version": 2}
    asker = asker_of(GRANT)
    assert (user["aud"], user["sub"], user["exp"]) == ("GUEST", "UUSER", 1_700_000_600)
    assert user["name"] == f"{asker}.{opened.id}"
    assert grant_id_of_user(str(user["name"])) == opened.id
    assert user["nats"] == {
        "type": "user",
        "version": 2,
        "subs": 64,
        "data": -1,
        "payload": -1,
        "pub": {"allow": [f"bp.pull.{GRANT}.{asker}", f"bp.confirm.{GRANT}.{asker}"]},
        "sub": {"allow": [f"bp.dlv.{asker}.>", f"_INBOX_{asker}.>"]},
    }


@pytest.mark.parametrize(
    ("roles", "accesses"),
    [
        ((), ["read"]),
        (("observer",), ["read"]),
        (("reviewer",), ["note", "read"]),
        (("editor",), ["edit", "note", "read"]),
        (("editor", "observer"), ["read"]),
    ],
)
def test_a_participant_may_request_what_its_role_has_access_to(roles: tuple[Role, ...], accesses: list[str]) -> None:
    root = Grant(body=BODY.body, grant_id=BODY.grant_id, expires=BODY.expires, uses=0, kind=Kind.SESSION)
    text = narrow(seal(root, KEY), *map(SessionRole, roles))
    asked = CalloutRequest("UUSER", "NSERVER", text)
    response = claims_of(Issuer(SEED).admit(asked, unseal(text, KEY), 1.0).decode())["nats"]
    assert isinstance(response, dict)
    permissions = claims_of(response["jwt"])["nats"]
    assert isinstance(permissions, dict)
    asker = asker_of(text)
    assert permissions["pub"] == {"allow": [f"bp.say.{access}.{text}.{asker}" for access in accesses]}
    heard = [f"bp.said.{BODY.body}", f"bp.here.{BODY.body}", f"_INBOX_{asker}.>"]
    assert permissions["sub"] == {"allow": heard}


@pytest.mark.parametrize("user", ["stats", "", "x" * 26 + "." + "0" * 32, "a" * 26, "a" * 26 + "." + "0" * 33, "a.b"])
def test_a_user_of_the_configuration_has_no_grant(user: str) -> None:
    assert (grant_id_of_user(user) is None) is not user.startswith("x")


def test_who_is_refused_learns_no_more_than_that() -> None:
    answer = claims_of(Issuer(SEED).refuse(ASKED, 1.0).decode())
    assert answer["nats"] == {"type": "authorization_response", "version": 2, "error": "refused"}


def test_an_asker_is_named_after_the_whole_grant() -> None:
    assert asker_of("AQ" + "a-_" * 26) == "xcyltol3scerbatsk6pcoj6yk4"
    assert asker_of(GRANT[:-1] + "A") != asker_of(GRANT)


def request(**fields: object) -> bytes:
    claims = {"user_nkey": "UUSER", "server_id": {"id": "NSERVER"}, "connect_opts": {"auth_token": GRANT}, **fields}
    return f"x.{encode_id(orjson.dumps({'nats': claims}))}.x".encode()


def test_a_request_says_who_asks_where_and_with_what() -> None:
    assert parse_callout(request()) == ASKED
    assert parse_callout(request(connect_opts={"user": "a"})).token == ""


@pytest.mark.parametrize(
    "raw",
    [b"", b"x", b"x.y", b"x.!!.x", b"\xff", request(user_nkey=7), request(server_id=[]), request(connect_opts=None)],
)
def test_what_is_no_request_is_refused(raw: bytes) -> None:
    with pytest.raises(WireError):
        parse_callout(raw)


@given(st.binary(max_size=300))
def test_any_bytes_are_a_request_or_refused(raw: bytes) -> None:
    try:
        parse_callout(raw)
    except WireError:
        return
