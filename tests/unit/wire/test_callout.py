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
from broker_plane.wire.callout import CalloutRequest, Issuer, parse_callout
from broker_plane.wire.names import asker_of, decode_id, encode_id
from broker_plane.wire.nkey import account_of, account_seed, check_seed

SEED = "SAAAAAICAMCAKBQHBAEQUCYMBUHA6EARCIJRIFIWC4MBSGQ3DQOR4HYMHI"
"""Of the bytes 0 to 31; seed and account are what nkeys.py 0.2.1 makes of them."""
ACCOUNT = "AAB2CB576PHBBPQ5ODORRZ2LYCMWPZGWGCN2KDK7DXOIMZASKUY3QPZV"
GRANT = "AQ" + "a-_" * 26
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
    answer = claims_of(Issuer(SEED).admit(ASKED, GRANT, 1_700_000_600, 1_700_000_000.5).decode())
    assert (answer["aud"], answer["sub"], answer["iss"]) == ("NSERVER", "UUSER", ACCOUNT)
    response = answer["nats"]
    assert isinstance(response, dict)
    user = claims_of(response.pop("jwt"))
    assert response == {"type": "authorization_response", "version": 2}
    asker = asker_of(GRANT)
    assert (user["aud"], user["sub"], user["name"], user["exp"]) == ("GUEST", "UUSER", asker, 1_700_000_600)
    assert user["nats"] == {
        "type": "user",
        "version": 2,
        "subs": 64,
        "data": -1,
        "payload": -1,
        "pub": {"allow": [f"bp.pull.{GRANT}.{asker}", f"bp.confirm.{GRANT}.{asker}"]},
        "sub": {"allow": [f"bp.dlv.{asker}.>", f"_INBOX_{asker}.>"]},
    }


def test_who_is_refused_learns_no_more_than_that() -> None:
    answer = claims_of(Issuer(SEED).refuse(ASKED, 1.0).decode())
    assert answer["nats"] == {"type": "authorization_response", "version": 2, "error": "refused"}


def test_an_asker_is_named_after_the_whole_grant() -> None:
    assert asker_of(GRANT) == "xcyltol3scerbatsk6pcoj6yk4"
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
