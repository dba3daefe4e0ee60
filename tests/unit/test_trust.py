"""Whom a consumer follows, and who gets its token: our own bridge, and what the operator named."""

from __future__ import annotations

import secrets
from time import time
from uuid import uuid4

import pytest

from broker_plane.client.trust import Trust, parse_hosts
from broker_plane.errors import ConfigError, UntrustedHostError
from broker_plane.wire.grant import Grant, Key, seal
from broker_plane.wire.names import body_id

OWN = "http://127.0.0.1:8787"
GRANT = seal(
    Grant(body=body_id(secrets.token_bytes(16)), grant_id=uuid4().bytes, expires=int(time()) + 600),
    Key(secrets.token_bytes(32)),
)
TRUST = Trust(parse_hosts("far.example, near.example:9000, [::1]:9001, 127.0.0.1:9002"), frozenset({OWN}))


def follows(trust: Trust, base: str) -> bool:
    try:
        return trust.check(f"{base}/s2sp/data/{GRANT}") == GRANT
    except UntrustedHostError:
        return False


@pytest.mark.parametrize(
    "base",
    [OWN, "http://127.0.0.1:9002", "http://[::1]:9001", "https://far.example", "http://far.example:81",
     "https://FAR.example/any/prefix", "http://near.example:9000"],
)  # fmt: skip
def test_what_is_named_is_followed(base: str) -> None:
    assert follows(TRUST, base)


@pytest.mark.parametrize(
    "base",
    [
        "http://127.0.0.1:8788",
        "http://127.0.0.1",
        "http://127.0.0.1:8787/prefix",
        "http://127.0.0.1:8787/../x",
        "https://127.0.0.1:8787",
        "http://localhost:8787",
        "http://[::1]:8787",
        "http://[::1]:9002",
        "http://127.0.0.2:8787",
        "http://127.1:8787",
        "http://2130706433:8787",
        "http://0.0.0.0:8787",
        "http://[::ffff:127.0.0.1]:8787",
        "http://127.0.0.1.:8787",
        "http://near.example",
        "http://near.example:9001",
        "http://far.example.evil.example",
        "http://evil.example?far.example",
        "http://user@127.0.0.1:8787",
        "http://127.0.0.1:8787:80",
        "ftp://127.0.0.1:8787",
    ],
)
def test_no_other_port_host_path_or_spelling_is(base: str) -> None:
    assert not follows(TRUST, base)


def test_the_error_says_what_to_set() -> None:
    with pytest.raises(UntrustedHostError, match=r"127\.0\.0\.1:9999 to BROKER_PLANE_TRUSTED_HOSTS"):
        TRUST.check(f"http://127.0.0.1:9999/s2sp/data/{GRANT}")


def test_a_bridge_below_a_path_is_trusted_there_only() -> None:
    trust = Trust(bridges=frozenset({"https://gate.example/plane/"}))
    assert follows(trust, "https://gate.example/plane")
    assert not follows(trust, "https://gate.example")
    assert not follows(trust, "https://gate.example/other")


def test_a_bridge_that_this_process_serves_is_trusted_as_long_as_it_does() -> None:
    serving = {"http://127.0.0.1:5000"}
    trust = Trust(started=serving)
    assert follows(trust, "http://127.0.0.1:5000")
    serving.clear()
    assert not follows(trust, "http://127.0.0.1:5000")


@pytest.mark.parametrize("text", ["host:port", "http://host", "a/b", "host:99999", "user@host", "[::1"])
def test_an_entry_that_is_no_host_is_an_error(text: str) -> None:
    with pytest.raises(ConfigError, match="BROKER_PLANE_TRUSTED_HOSTS"):
        parse_hosts(text)


TOKENS = Trust(
    parse_hosts("127.0.0.1, far.example, plain.example"),
    frozenset({OWN, "http://public.example:8787", "https://own.example"}),
    parse_hosts("named.example, 127.0.0.1:7000, plain.example"),
)


@pytest.mark.parametrize(
    ("base", "gets"),
    [
        (OWN, True),
        ("https://own.example", True),
        ("https://named.example", True),
        ("https://named.example:4443", True),
        ("http://127.0.0.1:7000", True),
        ("http://127.0.0.1:7001", False),  # trusted to be followed, and not with the token
        ("https://far.example", False),
        ("http://named.example", False),
        ("http://plain.example", False),
        ("http://public.example:8787", False),  # our own bridge, and whoever listens on the way
        ("http://own.example", False),
        ("https://own.example.evil.example", False),
        ("http://localhost:8787", False),
        ("http://127.0.0.1:8788", False),
    ],
)
def test_the_token_goes_where_the_operator_says_and_nobody_listens(base: str, gets: bool) -> None:
    assert TOKENS.takes_token(f"{base}/s2sp/data/{GRANT}") is gets
