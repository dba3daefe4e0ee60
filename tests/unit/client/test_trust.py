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


SPELLINGS = [
    # listed, URL, followed
    ("[fd00::5]:8787", "http://[fd00::5]:8787", True),
    ("[FD00:0:0::5]:8787", "http://[fd00::5]:8787", True),
    ("fd00::5", "http://[FD00:0::0:5]:8787", True),
    ("[fd00::5]", "http://[fd00::5]:1234", True),
    ("fd00:0000:0000:0000:0000:0000:0000:0005", "http://[fd00::5]", True),
    ("[fd00::5]:443", "https://[fd00::5]", True),
    ("[fd00::5]:8787", "http://[fd00::5]:8788", False),
    ("[fd00::5]:8787", "http://[fd00::6]:8787", False),
    ("fd00::5:8787", "http://[fd00::5]:8787", False),  # an address of its own, without a port
    ("fd00::5:8787", "http://[fd00::5:8787]", True),
    ("[::ffff:10.0.0.5]:8787", "http://[::ffff:a00:5]:8787", True),
    ("10.0.0.5", "http://[::ffff:10.0.0.5]:8787", False),
    ("BRIDGE.Example:8787", "http://bridge.EXAMPLE:8787", True),
    ("bridge.example.", "http://bridge.example:8787", True),
    ("bridge.example:8787", "http://bridge.example.:8787", True),
    ("bridge", "http://bridge.:8787", False),
    ("bücher.example", "http://xn--bcher-kva.example", True),
    ("xn--bcher-kva.example:80", "http://BÜCHER.example", True),
    ("bücher.example", "http://bucher.example", False),
    ("10.0.0.5", "http://10.0.0.5.:8787", False),
    ("bridge_1.internal:8787", "http://bridge_1.internal:8787", True),
    (" bridge.example , ,other.example", "https://other.example", True),
]


@pytest.mark.parametrize(("listed", "base", "followed"), SPELLINGS)
def test_a_host_is_the_same_in_every_spelling_of_it(listed: str, base: str, followed: bool) -> None:
    assert follows(Trust(parse_hosts(listed)), base) is followed
    https = base.replace("http://", "https://").replace("https://BÜCHER.example", "https://BÜCHER.example:80")
    assert Trust(token_hosts=parse_hosts(listed)).takes_token(f"{https}/x") is (followed or "[fd00::5]:443" in listed)


def test_the_host_that_an_error_names_can_be_listed_as_it_is() -> None:
    for base in ("http://[FD00::5]:8787", "http://[fd00::5]", "https://bücher.example", "http://Bridge.Example.:1"):
        url = f"{base}/s2sp/data/{GRANT}"
        with pytest.raises(UntrustedHostError) as refused:
            Trust().check(url)
        named = str(refused.value).partition(", add ")[2].partition(" to ")[0]
        assert Trust(parse_hosts(named)).check(url) == GRANT


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("*", "wildcard"),
        ("*.example", "wildcard"),
        ("bridge.example:*", "wildcard"),
        ("http://bridge.example:8787", "its host and port alone: bridge.example:8787"),
        ("https://[fd00::5]:8787/", r"alone: \[fd00::5\]:8787"),
        ("https://user@bridge.example", "alone: bridge.example"),
        ("fe80::1%eth0", "zone"),
        ("[fe80::1%25eth0]:8787", "zone"),
        ("bridge.example/plane", "leave out path"),
        ("bridge.example:", "not a host"),
        ("[fd00::5", "not a host"),
        ("fd00::5]:8787", "not a host"),
        ("[fd00::5]8787", "not a host"),
        ("[bridge.example]:8787", "not a host"),
        ("bridge example", "not a host"),
        ("bridge.example;other.example", "not a host"),
        ('"bridge.example"', "not a host"),
        ("bridge.example:eight", "not a host"),
        (".example", "not a host"),
        ("fd00::zz", "not a host"),
    ],
)
def test_an_entry_that_can_match_nothing_is_refused_with_a_sentence(text: str, said: str) -> None:
    for setting in ("BROKER_PLANE_TRUSTED_HOSTS", "BROKER_PLANE_TOKEN_HOSTS"):
        with pytest.raises(ConfigError, match=f"{setting}: .*{said}"):
            parse_hosts(text, setting)
