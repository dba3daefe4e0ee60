"""A consumer whose NATS peer is hostile: what arrives is bounded by what was announced, and by what was asked for."""

from __future__ import annotations

import asyncio
import secrets
import threading
from collections.abc import Callable, Iterator
from itertools import count
from time import time
from typing import Any
from uuid import uuid4

import msgpack
import nats
import pytest
from nats.aio.msg import Msg

from broker_plane.testing.server import NatsServer
from broker_plane.wire.grant import Grant, Key, seal
from broker_plane.wire.names import body_id
from broker_plane.wire.plane_names import Names
from tests.faults.test_hostile_answers import BOUND_SECONDS, MOST_MORE, Consumer
from tests.figures import Figure

KIB, MIB = 1 << 10, 1 << 20
CHUNK = bytes(512 * KIB)
DIGEST = "0" * 64


def info(**fields: Any) -> dict[str, Any]:
    said = {"id": body_id(bytes(16)), "owner": "local", "kind": "bytes", "size": 4 * MIB, "digest": DIGEST}
    said |= {"media_type": "application/octet-stream", "created": time(), "expires": int(time()) + 600}
    return said | {"chunks": 8, "chunk_bytes": 512 * KIB, "runs": [[1, 8]], "format": 1} | fields


def answer(**fields: Any) -> bytes:
    packed: bytes = msgpack.packb({"lease": "", "info": info(**fields)})
    return packed


def rows(**fields: Any) -> bytes:
    return answer(kind="rows", media_type="application/vnd.broker-plane.rows", rows=5, columns=["a"], **fields)


ANSWERS: dict[str, Callable[[], bytes]] = {
    "not-msgpack": lambda: b"\xc1" * 1000,
    "array": lambda: b"\x90",
    "empty": lambda: b"",
    "empties": lambda: b"\xdd\x00\x0f\x00\x00" + b"\x90" * 0xF0000,
    "empties-in-info": lambda: b"\x81\xa4info\xdd\x00\x09\x00\x00" + b"\x90" * 0x90000,
    "deep": lambda: b"\x91" * 100_000,
    "no-info": lambda: msgpack.packb({"lease": ""}),
    "error-text": lambda: msgpack.packb({"error": "x"}),
    "error-code-list": lambda: msgpack.packb({"error": {"code": [], "message": []}}),
    "data-text": lambda: msgpack.packb({"lease": "", "info": info(), "data": "text"}),
    "data-more": lambda: msgpack.packb({"lease": "", "info": info(size=5), "data": bytes(500_000)}),
    "until-text": lambda: msgpack.packb({"lease": "", "info": info(), "until": "x"}),
    "runs-none": lambda: answer(runs=[]),
    "runs-text": lambda: answer(runs="x"),
    "size-huge": lambda: answer(size=1 << 62, runs=[[1, 1 << 50]]),
    "size-above-memory": lambda: answer(size=3 << 30, runs=[[1, 6144]]),
}
"""Answers with nothing after them."""


FLOODS: dict[str, tuple[Callable[[], bytes], bytes, Callable[[int], dict[str, str]]]] = {
    "more-than-announced": (lambda: answer(runs=[[1, 1 << 40]]), CHUNK, lambda n: {"Nats-Sequence": str(n)}),
    "wrong-sequences": (answer, CHUNK, lambda n: {"Nats-Sequence": str(n + 100)}),
    "no-sequences": (answer, CHUNK, lambda n: {"x": "y"}),
    "sequence-garbage": (answer, CHUNK, lambda n: {"Nats-Sequence": "9" * 5000}),
    "ahead": (lambda: answer(runs=[[1, 1 << 40]]), CHUNK, lambda n: {"Nats-Sequence": str(n + 1)}),
    "ahead-and-empty": (lambda: answer(runs=[[1, 1 << 40]]), b"", lambda n: {"Nats-Sequence": str(n + 1)}),
    "empty-chunks": (answer, b"", lambda n: {"Nats-Sequence": "-1"}),
    "ends": (answer, b"", lambda n: {"Status": "204"}),
    "status": (answer, b"", lambda n: {"Status": "x" * 1000}),
    "cut-again": (rows, CHUNK, lambda n: {"Bp-At": "0"}),
    "cut-garbage": (rows, CHUNK, lambda n: {"Bp-At": str(n)}),
    "cut-no-place": (rows, b"", lambda n: {"Bp-At": "x"}),
    "cut-ends": (rows, b"", lambda n: {"Status": "204", "Bp-After": str(n)}),
}
"""The answer to a pull, and what floods the consumer then."""


class Peer:
    """Answers whoever pulls, in a thread and a loop of its own: as the grant says that was made for a case."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.cases: dict[str, str] = {}
        self._floods: set[asyncio.Task[None]] = set()
        self._flooding = False
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))
        self._thread.start()
        assert self._ready.wait(30)

    def subject(self, case: str) -> str:
        nothing = Grant(body=body_id(secrets.token_bytes(16)), grant_id=uuid4().bytes, expires=int(time()) + 3600)
        grant = seal(nothing, Key(secrets.token_bytes(32)))
        self.cases[grant] = case
        return Names().pull_subject(grant)

    def quiet(self) -> None:
        """Nobody is flooded any more."""

        async def ended() -> None:
            self._flooding = False
            await asyncio.gather(*self._floods, return_exceptions=True)
            self._floods.clear()

        asyncio.run_coroutine_threadsafe(ended(), self._loop).result(30)

    def close(self) -> None:
        self.quiet()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    async def _run(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        self._peer = await nats.connect(self._url)
        await self._peer.subscribe("bp.pull.>", cb=self._asked)
        await self._peer.subscribe("bp.confirm.>", cb=self._confirmed)
        self._ready.set()
        await self._stop.wait()
        await self._peer.close()

    async def _confirmed(self, message: Msg) -> None:
        await message.respond(b"\x90" * 100_000)

    async def _asked(self, message: Msg) -> None:
        _, _, grant, asker = message.subject.split(".")
        case = self.cases[grant]
        if case in ANSWERS:
            await message.respond(ANSWERS[case]())
            return
        said, data, headers = FLOODS[case]
        await message.respond(said())
        number = msgpack.unpackb(message.data)["n"]
        if not self._floods:
            self._flooding = True
            self._floods.add(asyncio.create_task(self._flood(Names().delivery_subject(asker, number), headers, data)))

    async def _flood(self, subject: str, headers: Callable[[int], dict[str, str]], data: bytes) -> None:
        """Messages without end, as fast as they are taken."""
        for number in count(1):
            await self._peer.publish(subject, data, headers=headers(number))
            if number % 16 == 0:
                await self._peer.flush()
            if not self._flooding:
                return


@pytest.fixture(scope="module")
def peer(nats_server: NatsServer) -> Iterator[Peer]:
    started = Peer(nats_server.url)
    yield started
    started.close()


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory, nats_server: NatsServer, peer: Peer) -> Iterator[Consumer]:
    started = Consumer(tmp_path_factory.mktemp("consumer"))
    started.do("nats_pull", f"{nats_server.url} {peer.subject('empty')}")
    started.before = started.most
    yield started
    started.close()


def refused(consumer: Consumer, verb: str, url: str) -> None:
    said = consumer.do(verb, url)
    assert said["code"] not in ("", "other"), said
    assert said["seconds"] < BOUND_SECONDS, said
    assert consumer.most - consumer.before < 2 * MOST_MORE, (consumer.most - consumer.before, said)


@pytest.mark.parametrize("verb", ["nats_pull", "nats_pull_columns", "nats_look"])
@pytest.mark.parametrize("case", ANSWERS)
def test_an_answer_of_any_form_is_refused_by_name(
    consumer: Consumer, nats_server: NatsServer, peer: Peer, case: str, verb: str
) -> None:
    # Of a projection nobody knows the size, and its windows are waited for.
    if verb != "nats_pull_columns" or not case.startswith(("size", "runs", "data-more")):
        refused(consumer, verb, f"{nats_server.url} {peer.subject(case)}")


@pytest.mark.parametrize("case", FLOODS)
def test_a_flood_costs_no_more_than_was_asked_for(
    consumer: Consumer, nats_server: NatsServer, peer: Peer, case: str
) -> None:
    try:
        refused(consumer, "nats_pull", f"{nats_server.url} {peer.subject(case)}")
    finally:
        peer.quiet()


def test_the_battery_took_little_memory(consumer: Consumer, figure: Figure) -> None:
    more = consumer.most - consumer.before
    measured = f"{consumer.count} answers and floods: + {more / MIB:.0f} MiB, worst {consumer.worst:.2f} s"
    figure("a hostile NATS peer of a consumer", measured, aim="+ 64 MB", met=more <= MOST_MORE)
    assert more <= 2 * MOST_MORE
