"""A server whose port and URL are known before it runs."""

from __future__ import annotations

import asyncio
import signal
import socket
import ssl
import subprocess
from pathlib import Path

import pytest

from broker_plane.errors import ConfigError, PortInUseError
from broker_plane.web.delivery import Outcome
from broker_plane.web.protocol import Tracking
from broker_plane.web.server import HttpServer
from tests.bridge.conftest import Dial
from tests.bridge.wire import PATIENCE, Answer
from tests.tools import need

pytestmark = pytest.mark.anyio

LARGE = 12 << 20


async def test_port_0_is_a_real_port_before_the_start_and_answers_after_it(dial: Dial) -> None:
    server = HttpServer(Answer(10), tracking=Tracking())
    assert server.url == f"http://127.0.0.1:{server.port}"
    assert server.port > 0
    async with server:
        reader = await dial(server.port)
        await reader.get()
        assert (await reader.read_head()).startswith(b"HTTP/1.1 200 ")
    with pytest.raises(ConnectionError):
        await dial(server.port)


@pytest.mark.parametrize(
    ("host", "shown"),
    [("0.0.0.0", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("::", "[::1]"), ("::1", "[::1]")],  # noqa: S104
)
async def test_a_url_never_names_a_wildcard(host: str, shown: str) -> None:
    try:
        server = HttpServer(Answer(10), host)
    except ConfigError:
        pytest.skip("no IPv6 on this machine")
    assert server.url == f"http://{shown}:{server.port}"
    server.close()


async def test_a_public_url_is_used_as_it_is() -> None:
    server = HttpServer(Answer(10), public_url="https://bridge.example/")
    assert server.url == "https://bridge.example"
    server.close()


@pytest.mark.parametrize("listening", [True, False])
async def test_a_taken_port_is_named_with_what_to_do(listening: bool) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        if listening:
            other.listen()
        port = other.getsockname()[1]
        with pytest.raises(PortInUseError, match=f"Port {port} .*choose another port"):
            HttpServer(Answer(10), "127.0.0.1", port)


async def test_a_host_that_is_none_of_ours_is_a_setting_to_change() -> None:
    with pytest.raises(ConfigError, match="192\\.0\\.2\\.1"):
        HttpServer(Answer(10), "192.0.2.1")


async def test_signals_stay_those_of_the_program_around_it() -> None:
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    async with HttpServer(Answer(10), tracking=Tracking()):
        assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before


async def test_a_stop_is_bounded_even_with_a_reader_that_hangs(dial: Dial) -> None:
    answer = Answer(5_000_000)
    async with HttpServer(answer, tracking=Tracking(), stop_seconds=1) as server:
        reader = await dial(server.port)
        await reader.get()
        await answer.until(lambda: answer.deliveries)
    reader.close()


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    need("openssl", why="which makes the certificate")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    made = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "1",
    ]
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(cert)]
    subprocess.run(made + names, check=True, capture_output=True, timeout=30)
    return cert, key


async def test_a_certificate_that_cannot_be_read_is_a_setting_to_change(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="certificate"):
        HttpServer(Answer(10), certfile=tmp_path / "none.pem", keyfile=tmp_path / "none.key")


async def test_over_tls_the_end_of_a_delivery_is_known_too(certificate: tuple[Path, Path]) -> None:
    answer = Answer(LARGE)
    async with HttpServer(answer, tracking=Tracking(), certfile=certificate[0], keyfile=certificate[1]) as server:
        assert server.url == f"https://127.0.0.1:{server.port}"
        context = ssl.create_default_context(cafile=certificate[0])
        for size, outcome in ((LARGE, Outcome.COMPLETE), (LARGE // 4, Outcome.BROKEN)):
            stream, writer = await asyncio.open_connection("127.0.0.1", server.port, ssl=context)
            writer.write(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            await asyncio.wait_for(stream.readuntil(b"\r\n\r\n"), PATIENCE)
            await asyncio.wait_for(stream.readexactly(size), PATIENCE)
            writer.transport.abort()
            await answer.until(lambda: answer.deliveries[-1].decided)
            assert answer.deliveries[-1].decided is outcome
