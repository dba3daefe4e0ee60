"""The short ways of our NATS client beside nats-py's own: the same messages, the same headers, the same bytes sent."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import Error, ProtocolError
from nats.protocol.parser import Parser

from broker_plane.broker.quick_client import QuickClient, parse_headers, publish_command
from broker_plane.broker.quick_parser import QuickParser

HEADERS = b"NATS/1.0\r\nNats-Stream: s\r\nEmpty:\r\nSpaced:  a b \r\n\r\n"
SENT = [
    b"MSG a.b 1 5\r\nhello\r\n",
    b"MSG a.b 2 reply.to 0\r\n\r\n",
    b"MSG a.b\t1   reply.to  4\r\n\r\n\r\n\r\n",
    b"HMSG a 3 %d %d\r\n%s\r\n" % (len(HEADERS), len(HEADERS), HEADERS),
    b"HMSG a 3 reply.to %d %d\r\n%sMSG a 1 2\r\nxy\r\n" % (len(HEADERS), len(HEADERS) + 13, HEADERS),
    b"PING\r\n",
    b"+OK\r\n",
    b"PONG\r\n",
    b"-ERR 'Permissions Violation'\r\n",
    b'INFO {"server_id":"x"}\r\n',
]


class Hearer:
    """Notes what a parser finds, as its client."""

    def __init__(self) -> None:
        self.heard: list[tuple[object, ...]] = []

    def take_message(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes) -> bool:
        if sid == 2:  # one that only nats-py takes
            return False
        self._hear(sid, subject, reply, data, headers)
        return True

    async def _process_msg(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        self._hear(sid, subject, reply, data, headers)

    def _hear(self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes | None) -> None:
        assert type(data) is bytes
        self.heard.append(("message", sid, subject, reply, data, headers or None))

    async def _process_err(self, error: str) -> None:
        self.heard.append(("error", error))

    async def _process_ping(self) -> None:
        self.heard.append(("ping",))

    async def _process_pong(self) -> None:
        self.heard.append(("pong",))

    async def _process_info(self, info: dict[str, Any]) -> None:
        self.heard.append(("info", *info.items()))


def heard_by(kind: type[Parser], pieces: list[bytes]) -> list[tuple[object, ...]]:
    hearer = Hearer()
    parser = kind(hearer)

    async def parse() -> None:
        for piece in pieces:
            await parser.parse(piece)

    asyncio.run(parse())
    return hearer.heard


@given(st.lists(st.sampled_from(SENT), min_size=1, max_size=12), st.lists(st.integers(0, 400), max_size=30))
def test_any_cut_of_what_arrives_gives_what_nats_py_finds(sent: list[bytes], cuts: list[int]) -> None:
    raw = b"".join(sent)
    places = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[start:end] for start, end in pairwise(places)]
    assert heard_by(QuickParser, pieces) == heard_by(Parser, [raw])


@pytest.mark.parametrize(
    "line", [b"MSG a 1\r\n", b"MSG a b c d e f\r\n", b"HMSG a 1 9 x\r\n", b"MSGS a 1 2\r\n", b"?\r\n"]
)
def test_a_malformed_line_is_an_error(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        heard_by(QuickParser, [line])


@given(st.text(st.characters(codec="latin-1"), max_size=60))
def test_headers_are_those_that_nats_py_finds(text: str) -> None:
    raw = b"NATS/1.0\r\n" + text.encode("latin-1") + b"\r\n\r\n"
    found = parse_headers(raw)
    assert found is None or found == asyncio.run(Client()._process_headers(raw))


class Captured(Client):
    """Keeps what it would write."""

    def __init__(self) -> None:
        super().__init__()
        self.sent: list[bytes] = []

    async def _send_command(self, cmd: bytes, priority: bool = False) -> None:
        self.sent.append(cmd)


WORDS = st.text(st.sampled_from("ab.>* \t\r\né:"), max_size=6)


@given(WORDS, WORDS, st.binary(max_size=8), st.none() | st.dictionaries(WORDS, WORDS, max_size=3))
def test_what_is_published_is_what_nats_py_would_write(
    subject: str, reply: str, payload: bytes, headers: dict[str, str] | None
) -> None:
    command = publish_command(subject, reply, payload, headers)
    if command is not None:
        captured = Captured()
        captured._status, captured._max_payload = Client.CONNECTED, 1_000
        asyncio.run(captured.publish(subject, payload, reply, headers or None))
        assert captured.sent == [command]


def test_what_nats_py_refuses_is_refused() -> None:
    client = QuickClient()
    client._status = Client.CONNECTED
    for subject, headers in (("a b", None), ("", None), ("a\r\nPUB b", None), ("a", {"b c": "d"})):
        with pytest.raises(Error):
            asyncio.run(client.publish(subject, b"", headers=headers))
