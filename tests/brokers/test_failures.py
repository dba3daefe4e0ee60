"""What is wrong with a NATS is one sentence that names it: in the API and on the command line, and soon."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from time import monotonic, time
from typing import Any

import anyio
import anyio.to_thread
import pytest
from typer.testing import CliRunner

from broker_plane import Plane
from broker_plane.cli.main import app_of
from broker_plane.config import load_settings
from broker_plane.errors import BrokerPlaneError, BrokerUnavailableError, ConfigError
from tests.brokers.certificates import Authority
from tests.brokers.jwts import ACCOUNT, Key, Operator
from tests.brokers.listeners import listening
from tests.brokers.servers import JETSTREAM, Server, running
from tests.ports import free_port

pytestmark = pytest.mark.anyio
SECONDS = 30
"""Ten times what it takes."""

SECRET = "weather:S3cret-Pass"
USERS = """
accounts {{
  PLANE {{ jetstream: enabled, users: [ {{ user: weather, password: "S3cret-Pass" }} ] }}
  NONE {{ users: [ {{ user: nobody, password: "S3cret-Pass" }} ] }}
  FEW {{ jetstream: enabled, users: [ {{ user: few, password: "S3cret-Pass",
    permissions {{ publish: ["x"], subscribe: ["_INBOX.>"] }} }} ] }}
  DEAF {{ jetstream: enabled, users: [ {{ user: deaf, password: "S3cret-Pass",
    permissions {{ publish: [">"], subscribe: ["x"] }} }} ] }}
  SMALL {{ jetstream {{ max_streams: 1 }}, users: [ {{ user: small, password: "S3cret-Pass" }} ] }}
}}
"""


class World:
    """Servers of many kinds, each started when a case first needs it, and files beside them."""

    def __init__(self, root: Path, authority: Authority, operator: Operator) -> None:
        self.root = root
        self.authority = authority
        self.operator = operator
        self.unused = free_port()
        self.leaf_port = free_port()
        self._servers: dict[str, Server] = {}
        self.stack = ExitStack()

    def server(self, kind: str) -> Server:
        if kind not in self._servers:
            self._servers[kind] = self.stack.enter_context(running(self.root / kind, self._config(kind)))
        return self._servers[kind]

    def url(self, kind: str, user: str = SECRET, scheme: str = "nats") -> str:
        return f"{scheme}://{user}@{self.server(kind).address}"

    def file(self, name: str, text: str = "") -> str:
        path = self.root / name
        path.write_text(text)
        return str(path)

    def _config(self, kind: str) -> str:
        if kind == "users":
            return JETSTREAM + USERS
        if kind == "bare":
            return ""
        if kind == "operator":
            return JETSTREAM + self.operator.config
        if kind == "hub":
            listens = f'leafnodes {{{{ host: "127.0.0.1", port: {self.leaf_port} }}}}'
            return JETSTREAM.replace("jetstream {{", "jetstream {{ domain: hub,") + listens
        if kind == "leaf":
            self.server("hub")
            return f'leafnodes {{{{ remotes: [ {{{{ url: "nats://127.0.0.1:{self.leaf_port}" }}}} ] }}}}'
        cert, key = self.authority.sign(kind)
        verify = f'ca_file: "{self.authority.file}", verify: true' if kind == "mtls" else "timeout: 2"
        return JETSTREAM + f'tls {{{{ cert_file: "{cert}", key_file: "{key}", {verify} }}}}'


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory, authority: Authority, operator: Operator) -> Iterator[World]:
    found = World(tmp_path_factory.mktemp("world"), authority, operator)
    with found.stack:
        yield found


Set = dict[str, Any]


def on(url: Callable[[World], str], **settings: Callable[[World], str]) -> Callable[[World], Set]:
    return lambda world: {"nats_url": url(world)} | {name: value(world) for name, value in settings.items()}


CASES: dict[str, tuple[Callable[[World], Set], str]] = {
    "nobody listens": (
        on(lambda w: f"nats://{SECRET}@127.0.0.1:{w.unused}"),
        r"nats://127\.0\.0\.1:\d+ .*nothing listens",
    ),
    "nobody listens by name": (on(lambda w: f"nats://localhost:{w.unused}"), r"nats://localhost:\d+ .*nothing listens"),
    "nobody listens by IPv6": (on(lambda w: f"nats://[::1]:{w.unused}"), r"nats://\[::1\]:\d+ "),
    "a list of nobody": (
        on(lambda w: f"nats://{SECRET}@127.0.0.1:{w.unused},nats://no-such.invalid"),
        r"(?=.*no-such\.invalid)(?=.*nothing listens)",
    ),
    "unknown host": (on(lambda w: f"nats://{SECRET}@no-such-host.invalid:4222"), r"no host is called 'no-such-host"),
    "impossible host": (on(lambda w: f"nats://{SECRET}@a..b:4222"), r"nats://a\.\.b:4222 .*no name of a host"),
    "http": (on(lambda w: f"http://{SECRET}@127.0.0.1:4222"), r"scheme .*nats://.*http://127\.0\.0\.1:4222"),
    "https": (on(lambda w: "https://127.0.0.1:4222"), r"scheme .*https://127\.0\.0\.1:4222"),
    "websocket": (on(lambda w: "ws://127.0.0.1:8080"), r"WebSocket.*ws://127\.0\.0\.1:8080"),
    "port is a word": (on(lambda w: f"nats://{SECRET}@127.0.0.1:port"), r"no number .*nats://127\.0\.0\.1:port"),
    "port too large": (on(lambda w: "nats://127.0.0.1:70000"), r"no number .*127\.0\.0\.1:70000"),
    "port zero": (on(lambda w: "127.0.0.1:0"), r"no number .*127\.0\.0\.1:0"),
    "a path": (on(lambda w: f"nats://{SECRET}@127.0.0.1:4222/plane"), r"after host and port.*127\.0\.0\.1:4222/plane"),
    "bare IPv6": (on(lambda w: "nats://::1"), r"brackets.*nats://::1"),
    "spaces": (on(lambda w: "nats://127.0.0.1:1 nats://127.0.0.1:2"), r"commas.*127\.0\.0\.1:1 nats"),
    "double quotes": (on(lambda w: f'"nats://{SECRET}@127.0.0.1:4222"'), r"quotation mark"),
    "single quotes": (on(lambda w: "'nats://127.0.0.1:4222'"), r"quotation mark"),
    "half a quotation": (on(lambda w: "nats://127.0.0.1:4222'"), r"quotation mark"),
    "two users": (
        on(lambda w: "nats://a:S3cret-Pass@127.0.0.1:1,nats://b:x@127.0.0.1:2"),
        r"several users .*127\.0\.0\.1:2",
    ),
    "wrong password": (on(lambda w: w.url("users", "weather:S3cret-Pass2")), r"nats://127.* refused user or password"),
    "no password": (on(lambda w: f"nats://{w.server('users').address}"), r"nats://127.* refused user or password"),
    "a token": (on(lambda w: w.url("users", "S3cret-Pass")), r"nats://127.* refused user or password"),
    "no JetStream": (on(lambda w: w.url("bare")), r"nats://127.* has no JetStream, .*-js"),
    "a leaf without JetStream": (on(lambda w: w.url("leaf")), r"nats://127.* has no JetStream, .*NATS_DOMAIN"),
    "another domain": (
        on(lambda w: w.url("bare"), nats_domain=lambda w: "nowhere"),
        r"nats://127.* has no JetStream, ",
    ),
    "account without JetStream": (
        on(lambda w: w.url("users", "nobody:S3cret-Pass")),
        r"nats://127.* has no JetStream for this account",
    ),
    "nothing permitted": (
        on(lambda w: w.url("users", "few:S3cret-Pass")),
        r"nats://127.* does not permit few to do that",
    ),
    "not to listen": (
        on(lambda w: w.url("users", "deaf:S3cret-Pass")),
        r"nats://127.* does not permit deaf to do that",
    ),
    "no creds file": (
        on(lambda w: w.url("operator", ""), nats_creds=lambda w: "/no/such.creds"),
        r"nats://127.*NATS_CREDS: /no/such\.creds cannot be read",
    ),
    "an empty creds file": (
        on(lambda w: w.url("operator", ""), nats_creds=lambda w: w.file("empty.creds")),
        r"nats://127.*NATS_CREDS: .*empty\.creds is no credentials file",
    ),
    "creds with half a seed": (
        on(
            lambda w: w.url("operator", ""),
            nats_creds=lambda w: w.file(
                "half.creds", w.operator.creds(w.root / "whole.creds").read_text().replace("-----\nSU", "-----\nSU2")
            ),
        ),
        r"nats://127.*NATS_CREDS: .*half\.creds holds no seed",
    ),
    "creds of another operator": (
        on(lambda w: w.url("operator", ""), nats_creds=lambda w: str(Operator().creds(w.root / "other.creds"))),
        r"nats://127.* refused the credentials: check BROKER_PLANE_NATS_CREDS",
    ),
    "expired creds": (
        on(
            lambda w: w.url("operator", ""),
            nats_creds=lambda w: str(w.operator.creds(w.root / "old.creds", time() - 60)),
        ),
        r"nats://127.* refused the credentials: they have expired",
    ),
    "no nkey file": (on(lambda w: w.url("bare"), nats_nkey=lambda w: "/no/such.nk"), r"NATS_NKEY: /no/such\.nk cannot"),
    "nkey of an account": (
        on(lambda w: w.url("bare"), nats_nkey=lambda w: w.file("account.nk", Key(ACCOUNT).seed)),
        r"NATS_NKEY: .*account\.nk holds no seed of a user",
    ),
    "unknown nkey": (
        on(lambda w: w.url("operator", ""), nats_nkey=lambda w: w.file("user.nk", Key(20 << 3).seed)),
        r"nats://127.* refused the credentials: check BROKER_PLANE_NATS_NKEY",
    ),
    "nkey is a directory": (
        on(lambda w: w.url("bare"), nats_nkey=lambda w: str(w.root)),
        r"NATS_NKEY: .*cannot be read",
    ),
    "no TLS there": (on(lambda w: w.url("users", scheme="tls")), r"tls://127.* offers no TLS"),
    "certificate not trusted": (on(lambda w: w.url("tls", scheme="tls")), r"tls://127.* is not trusted here.*NATS_CA"),
    "no CA file": (on(lambda w: w.url("tls"), nats_ca=lambda w: "/no/ca.pem"), r"NATS_CA: /no/ca\.pem cannot be read"),
    "CA file of text": (
        on(lambda w: w.url("tls"), nats_ca=lambda w: w.file("ca.txt", "ca")),
        r"NATS_CA: .*ca\.txt holds no certificates",
    ),
    "wants a client certificate": (
        on(lambda w: w.url("mtls", scheme="tls"), nats_ca=lambda w: str(w.authority.file)),
        r"tls://127.* wants a client certificate: .*NATS_CERT",
    ),
    "client certificate of another CA": (
        on(
            lambda w: w.url("mtls", scheme="tls"),
            nats_ca=lambda w: str(w.authority.file),
            nats_cert=lambda w: str(Authority(w.root, "foreign").sign("foreigner")[0]),
            nats_key=lambda w: str(w.root / "foreigner.key"),
        ),
        r"tls://127.* (does not accept this client's certificate|closed the connection)",
    ),
    "key without certificate": (
        on(lambda w: w.url("tls"), nats_key=lambda w: str(w.authority.sign("lone")[1])),
        r"NATS_KEY needs BROKER_PLANE_NATS_CERT",
    ),
    "key of another certificate": (
        on(
            lambda w: w.url("tls"),
            nats_cert=lambda w: str(w.authority.sign("one")[0]),
            nats_key=lambda w: str(w.authority.sign("two")[1]),
        ),
        r"NATS_CERT and .*one\.crt and .*two\.key are no certificate and its key",
    ),
    "key with a passphrase": (
        on(
            lambda w: w.url("tls"),
            nats_cert=lambda w: str(w.authority.sign("locked", passphrase=b"p")[0]),
            nats_key=lambda w: str(w.root.parent / "ca0" / "x") and str(w.authority.file.with_name("locked.key")),
        ),
        r"NATS_KEY is encrypted",
    ),
}


@pytest.mark.parametrize("case", CASES)
async def test_what_is_wrong_is_one_sentence(world: World, case: str) -> None:
    settings, said = CASES[case]
    asked = settings(world)
    asked |= {"nats_url": asked["nats_url"].replace("//@", "//"), "request_timeout_seconds": 1.0}
    began = monotonic()
    with anyio.fail_after(SECONDS), pytest.raises(BrokerPlaneError) as caught:
        async with Plane.connect(load_settings(**asked)):
            pass
    _is_a_sentence(str(caught.value), said)
    environment = {f"BROKER_PLANE_{name.upper()}": str(value) for name, value in asked.items()}
    with anyio.fail_after(SECONDS):
        shown = await anyio.to_thread.run_sync(_ls, environment)
    _is_a_sentence(shown, said)
    assert monotonic() - began < SECONDS


def _ls(environment: dict[str, str]) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("BROKER_PLANE_NATS")}
    done = CliRunner().invoke(app_of("ls"), ["ls"], env=variables | environment, catch_exceptions=False)
    assert done.exit_code in (1, 2), done.output
    return done.output


def _is_a_sentence(text: str, said: str) -> None:
    flat = re.sub(r"\s+", " ", text.strip())
    assert re.search(said, flat), flat
    assert "S3cret" not in flat
    assert len(flat) < 500, flat
    assert not re.search(r"[.!] [A-Z]", flat.replace("docs/accounts.md", "")) or "does not permit" in flat, flat
    assert not re.search(r"Error\b|Traceback|Errno", flat), flat


OTHERS = {
    "another protocol": (b"SSH-2.0-OpenSSH_9.6\r\n", b"", False, ConfigError, "no NATS server"),
    "mail": (b"220 mail.example ESMTP\r\n", b"", False, ConfigError, "no NATS server"),
    "no INFO in it": (b"INFO nothing\r\n", b"", False, ConfigError, "no NATS server"),
    "silence": (b"", b"", False, BrokerUnavailableError, "says nothing"),
    "a web server": (b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", False, BrokerUnavailableError, "says nothing"),
    "closed at once": (b"", b"", True, BrokerUnavailableError, "closed the connection at once"),
}


@pytest.mark.parametrize("other", OTHERS)
@pytest.mark.parametrize("scheme", ["nats", "tls"])
async def test_what_is_no_nats_is_named(other: str, scheme: str) -> None:
    greeting, answer, closes, kind, said = OTHERS[other]
    async with listening(greeting, answer, closes=closes) as listener:
        with anyio.fail_after(SECONDS), pytest.raises(BrokerPlaneError) as caught:
            url = f"{scheme}://{SECRET}@127.0.0.1:{listener.port}"
            async with Plane.connect(load_settings(nats_url=url, request_timeout_seconds=1)):
                pass
        assert b"S3cret" not in listener.heard
    assert f"{scheme}://127.0.0.1:{listener.port}" in str(caught.value)
    if scheme == "nats":
        assert isinstance(caught.value, kind)
        assert said in str(caught.value)


async def test_a_refused_password_is_sent_once() -> None:
    info = b'INFO {"server_id":"X","version":"2.11.0","proto":1,"headers":true,"max_payload":1048576}\r\n'
    async with listening(info, b"-ERR 'Authorization Violation'\r\n") as listener:
        with pytest.raises(ConfigError, match="refused user or password"):
            async with Plane.connect(load_settings(nats_url=f"nats://{SECRET}@127.0.0.1:{listener.port}")):
                pass
        assert listener.connections == 1


async def test_a_url_that_ends_with_its_process_is_said_to(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async with Plane.connect(load_settings(nats_url=world.url("users"))) as plane:
        url = (await plane.publish([{"a": 1}])).resource_url
    [warning] = [each.getMessage() for each in caplog.records if "BROKER_PLANE_BRIDGE_URL" in each.getMessage()]
    assert url.startswith(re.findall(r"http://127\.0\.0\.1:\d+", warning)[0])
    assert "only while this process lives" in warning
    assert "broker-plane bridge" in warning
