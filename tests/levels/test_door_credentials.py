"""The credential of a descriptor: added by the host for the endpoint's origin, and kept from the code."""

from __future__ import annotations

import asyncio
import hmac
import logging
from collections.abc import Iterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.client.http import verifying
from broker_plane.levels import code_connections
from broker_plane.sandbox.ports import DoorFailedError, DoorRefusedError
from broker_plane.transfer.secret_filter import SecretFilter, spellings
from tests.levels.doors import SECRET, all_of, door, get
from tests.levels.endpoints import Asked, echoed, endpoint, response, tcp
from tests.transfer.servers import certificate

pytestmark = pytest.mark.anyio
BEARER = {"type": "bearer", "value": SECRET}
KINDS: list[dict[str, Any]] = [
    BEARER,
    {"type": "header", "header_name": "X-Api-Key", "value": SECRET},
    {"type": "header", "value": f"Token {SECRET}"},
    {"type": "query", "query_param": "key", "value": SECRET},
]
OVERRULED = {"authorization": "Bearer guess", "X-API-KEY": "guess", "Proxy-Authorization": "guess"}


def sent(asked: Asked) -> str | None:
    """The credential as a request carried it."""
    found = parse_qs(urlsplit(asked.target).query).get("key", [])
    return asked.header("authorization") or asked.header("x-api-key") or (found[0] if found else None)


@pytest.mark.parametrize("auth", KINDS, ids=lambda auth: str(auth["type"]))
async def test_the_endpoint_gets_it_and_the_code_reads_asterisks(auth: dict[str, Any]) -> None:
    async with endpoint() as server, door(f"{server.url}/items", auth=auth) as opened:
        found = await get(opened, f"{server.url}/items?page=2")
        handle, _, headers = await opened.open("GET", f"{server.url}/items", {}, b"")
        body = await all_of(opened, handle, 7)
    assert all(SECRET in str(sent(asked)) for asked in server.asked)
    for seen in (found.body, str(found.headers).encode(), body, str(headers).encode()):
        assert SECRET.encode() not in seen and quote(SECRET, safe="").encode() not in seen
    assert b"*" * len(SECRET) in body or b"*" * len(quote(SECRET, safe="")) in body
    assert len(found.body) == int(found.headers["content-length"])


@pytest.mark.parametrize("auth", KINDS, ids=lambda auth: str(auth["type"]))
async def test_another_port_of_the_same_host_does_not_get_it(auth: dict[str, Any]) -> None:
    async with endpoint() as server, endpoint() as other:
        sandbox = {"runtime": "python", "allowed_hosts": ["127.0.0.1", "127.0.0.2"], "allowed_ports": [other.port]}
        async with door(f"{server.url}/items", auth=auth, sandbox=sandbox) as opened:
            await get(opened, f"{other.url}/items")
            with pytest.raises((DoorFailedError, DoorRefusedError)):
                await get(opened, f"http://127.0.0.2:{other.port}/items")
        assert sent(other.asked[0]) is None and SECRET.encode() not in other.asked[0].text


@pytest.mark.parametrize("auth", KINDS, ids=lambda auth: str(auth["type"]))
async def test_what_code_sets_itself_is_overruled(auth: dict[str, Any]) -> None:
    async with endpoint() as server, door(server.url, auth=auth) as opened:
        await get(opened, f"{server.url}/?key=guess&%6Bey=guess&a=b%2F", OVERRULED)
    asked = server.asked[0]
    assert asked.header("proxy-authorization") is None
    if auth["type"] == "query":
        assert asked.target == f"/?a=b%2F&key={quote(SECRET, safe='')}"
    else:
        name = auth.get("header_name", "authorization").lower()
        assert str(asked.header(name)).endswith(SECRET) and "guess" not in str(asked.header(name))


async def test_a_token_that_code_got_itself_is_sent_where_there_is_no_credential() -> None:
    async with endpoint() as server, door(server.url) as opened:
        await get(opened, server.url, {"Authorization": "Bearer of-the-login"})
    assert server.asked[0].header("authorization") == "Bearer of-the-login"


async def test_headers_of_the_connection_are_the_host_s() -> None:
    wrong = {
        "Host": "other.example",
        "Connection": "close, x-secret",
        "Transfer-Encoding": "chunked",
        "Content-Length": "0",
        "Upgrade": "websocket",
        "TE": "trailers",
        "Expect": "100-continue",
        "X-Kept": "yes",
    }
    async with endpoint() as server, door(server.url) as opened:
        await opened.fetch("POST", server.url, wrong, b"body")
    asked = server.asked[0]
    assert asked.header("host") == f"127.0.0.1:{server.port}" and asked.header("x-kept") == "yes"
    assert asked.header("content-length") == "4" and asked.body == b"body"
    for name in ("transfer-encoding", "upgrade", "te", "expect"):
        assert asked.header(name) is None
    assert "x-secret" not in str(asked.header("connection"))


async def test_an_endpoint_of_another_scheme_gets_it_at_its_own_port() -> None:
    async with endpoint() as server, door(f"acme://127.0.0.1:{server.port}/x", auth=BEARER) as opened:
        await get(opened, f"{server.url}/x")
    assert sent(server.asked[0]) == f"Bearer {SECRET}"


async def test_an_https_endpoint_s_credential_is_not_sent_in_plain_text_to_the_same_port() -> None:
    async with endpoint() as server, door(f"https://127.0.0.1:{server.port}/x", auth=BEARER) as opened:
        await get(opened, f"{server.url}/x")
    assert sent(server.asked[0]) is None


async def test_a_credential_is_never_sent_in_plain_text_to_another_machine() -> None:
    async def private(host: str, port: int) -> Any:
        return [ip_address("10.1.2.3")]

    url = "http://internal.example:8080/"
    async with door(url, auth=BEARER, resolver=private, networks=("10.0.0.0/8",)) as opened:
        with pytest.raises(DoorRefusedError, match="plain text") as raised:
            await get(opened, url)
    assert SECRET not in str(raised.value)


async def test_a_raw_connection_carries_no_credential() -> None:
    got = asyncio.Queue[bytes]()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        got.put_nowait(await reader.read(100))

    async with tcp(listen) as server, door(f"acme://127.0.0.1:{server.port}", auth=BEARER) as opened:
        handle = await opened.connect("127.0.0.1", server.port, False)
        await opened.send(handle, b"hello")
        assert await asyncio.wait_for(got.get(), 10) == b"hello"


async def test_hmac_signs_without_showing_or_sending_the_secret() -> None:
    auth = {"type": "hmac", "value": SECRET}
    async with endpoint() as server, door(server.url, auth=auth) as opened:
        assert opened.hmac_sha256(b"GET\n/") == hmac.digest(SECRET.encode(), b"GET\n/", "sha256")
        await get(opened, server.url, {"X-Signature": "of the code"})
    assert SECRET.encode() not in server.asked[0].text and server.asked[0].header("x-signature") == "of the code"
    async with door(server.url, auth=BEARER) as opened:
        with pytest.raises(DoorRefusedError, match="hmac"):
            opened.hmac_sha256(b"x")


@pytest.mark.parametrize("auth", KINDS, ids=lambda auth: str(auth["type"]))
async def test_no_error_and_no_log_line_has_it(auth: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)

    async def breaks(asked: Asked, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 " + asked.text)

    errors: list[BaseException] = []
    async with endpoint(breaks) as server, door(server.url, auth=auth) as opened:
        try:
            await get(opened, server.url)
        except DoorFailedError as error:
            errors.append(error)
    async with endpoint() as server, door(server.url, auth=auth) as opened:
        await get(opened, server.url)
        errors.append(RuntimeError(repr(opened)))
    assert len(errors) == 2 and server.asked
    for text in (caplog.text, *(f"{error!r} {error.__cause__!r}" for error in errors)):
        assert SECRET not in text and quote(SECRET, safe="") not in text


async def test_an_echo_that_is_cut_anywhere_shows_nothing() -> None:
    async def slowly(asked: Asked, writer: asyncio.StreamWriter) -> None:
        whole = response(b"before " + asked.text + b" after")
        for at in range(0, len(whole), 3):
            writer.write(whole[at : at + 3])
            await writer.drain()
            await asyncio.sleep(0)

    async with endpoint(slowly) as server, door(server.url, auth=BEARER) as opened:
        handle, _, _ = await opened.open("GET", server.url, {}, b"")
        body = await all_of(opened, handle, 5)
    assert body.startswith(b"before ") and body.endswith(b" after") and b"Bearer " + b"*" * len(SECRET) in body


@given(st.data())
def test_a_filtered_stream_does_not_depend_on_how_it_is_cut(data: st.DataObject) -> None:
    secrets = data.draw(st.sampled_from([[b"abababab"], [b"ab%25cdef", b"ab%cdefgh", b"b%cdefgh"], spellings(SECRET)]))
    pieces = st.sampled_from([*secrets, *(secret[: len(secret) // 2] for secret in secrets), b"ab", b"%", b"x", b""])
    whole = b"".join(data.draw(st.lists(pieces, max_size=8)))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=6)))
    stream = SecretFilter(secrets)
    streamed = b"".join(stream.feed(whole[a:b]) for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True))
    streamed += stream.end()
    assert streamed == SecretFilter(secrets).whole(whole)
    assert len(streamed) == len(whole) and not any(secret in streamed for secret in secrets)


def test_a_short_secret_is_not_looked_for() -> None:
    assert spellings("s3cret") == []
    assert set(spellings("Basic dXNlcjpwYXNz/w==")) >= {
        b"dXNlcjpwYXNz/w==",
        b"dXNlcjpwYXNz\\/w==",
        b"Basic dXNlcjpwYXNz/w==",
    }


@pytest.fixture
def trusted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A server's context whose certificate, for 127.0.0.1 alone, is trusted."""
    file, context = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    caches = (verifying, code_connections._verifying)
    for each in caches:
        each.cache_clear()
    yield context
    for each in caches:
        each.cache_clear()


async def test_tls_is_verified_against_the_name(trusted: Any) -> None:
    async def loopback(host: str, port: int) -> Any:
        return [ip_address("127.0.0.1")]

    async with endpoint(echoed, context=trusted) as server:
        hosts = {"runtime": "python", "allowed_hosts": ["127.0.0.1", "other.example"], "allowed_ports": [server.port]}
        own = f"https://127.0.0.1:{server.port}/"
        async with door(own, auth=BEARER, sandbox=hosts, resolver=loopback) as opened:
            assert (await get(opened, own)).status == 200
            assert await opened.connect("127.0.0.1", server.port, True)
            # The same address under another name: no connection is reused for it.
            for call in (
                get(opened, own.replace("127.0.0.1", "other.example")),
                opened.connect("other.example", server.port, True),
            ):
                with pytest.raises(DoorFailedError, match=r"(?i)certificate"):
                    await call
        assert len(server.asked) == 1 and sent(server.asked[0]) == f"Bearer {SECRET}"


async def test_an_unknown_certificate_is_refused(tmp_path: Path) -> None:
    _, context = certificate(tmp_path)
    async with endpoint(context=context) as server, door(f"https://127.0.0.1:{server.port}/") as opened:
        for call in (get(opened, f"https://127.0.0.1:{server.port}/"), opened.connect("127.0.0.1", server.port, True)):
            with pytest.raises(DoorFailedError, match=r"(?i)certificate"):
                await call
        assert not server.asked
