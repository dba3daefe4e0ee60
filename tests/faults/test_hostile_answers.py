"""A consumer that is handed a hostile URL: every answer is refused by name, soon, and within a bounded memory."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from time import time
from typing import Any
from uuid import uuid4

import pytest

from broker_plane.wire.grant import Grant, Key, seal
from broker_plane.wire.names import body_id
from tests.faults.hostile_answers import BODIES, RAW, REFUSALS, SHORT, STREAMS, HostileServer, hostile
from tests.figures import Figure

ROOT = Path(__file__).resolve().parents[2]
MOST_MORE = 64 << 20
"""The aim; a test asserts twice of it, because a busy machine frees memory later."""
AIM_SECONDS, BOUND_SECONDS = 2.0, 25.0
PULLS = ("pull", "pull_columns", "look", "page", "tell", "upload", "fetch", "push")
FETCHES = ("fetch", "fetch_to", "fetch_gzip", "fetch_zstd", "fetch_sized", "fetch_huge", "push_through")
SHOWN = ("pull", "look", "upload", "fetch", "fetch_gzip", "fetch_zstd", "fetch_events", "follow_events", "push_through")
FINE = {
    ("tell", "ok-other"),  # says that nothing was confirmed
    ("pull_columns", "body-lies"),  # of the right length; that it has no columns its caller finds
    ("pull_to", "body-above-memory"),  # into a file it may have 3 GiB
    ("pull_to", "rows-sized"),
    ("follow_events", "events-comments"),  # which a live stream may send for as long as it lives
}
"""What is no fault of the answer."""


class Consumer:
    """The process that is told what to do; `worst` is the longest that anything took."""

    def __init__(self, directory: Path) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.faults.hostile_consumer", str(directory)],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self.worst = 0.0
        self.count = 0
        self.before: int = self._line()["memory"]
        self.most = self.before

    def do(self, verb: str, url: str) -> dict[str, Any]:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"do": verb, "url": url}).encode() + b"\n")
        self._process.stdin.flush()
        said = self._line()
        self.worst = max(self.worst, said["seconds"])
        self.most = max(self.most, said["memory"])
        self.count += 1
        return said

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(20)
        self._process.stdout.close()

    def _line(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        said: dict[str, Any] = json.loads(self._process.stdout.readline())
        return said


@pytest.fixture(scope="module")
def grant() -> str:
    nothing = Grant(body=body_id(secrets.token_bytes(16)), grant_id=uuid4().bytes, expires=int(time()) + 3600)
    return seal(nothing, Key(secrets.token_bytes(32)))


@pytest.fixture(scope="module")
def server() -> Iterator[HostileServer]:
    with hostile() as serving:
        yield serving


@pytest.fixture(scope="module")
def consumer(tmp_path_factory: pytest.TempPathFactory, server: HostileServer, grant: str) -> Iterator[Consumer]:
    started = Consumer(tmp_path_factory.mktemp("consumer"))
    # What the first of each costs once is no answer's doing.
    for verb in ("pull", "upload", "fetch", "push"):
        started.do(verb, f"{server.url}/ok-no-json/s2sp/data/{grant}")
    started.before = started.most
    yield started
    started.close()


def refused(consumer: Consumer, verb: str, url: str) -> None:
    said = consumer.do(verb, url)
    assert said["code"] not in ("", "other"), said
    assert said["seconds"] < BOUND_SECONDS, said
    assert consumer.most - consumer.before < 2 * MOST_MORE, (consumer.most - consumer.before, said)


def each(verbs: Iterable[str], names: Iterable[str]) -> pytest.MarkDecorator:
    """Every pair that is at fault: half of those of SHOWN, and with `full` the others and those that read as these."""
    shown = [verb for verb in verbs if verb in SHOWN]
    pairs = [
        pytest.param(name, verb, marks=[] if verb in shown[place % 2 :: 2] or [verb] == shown else [pytest.mark.full])
        for place, name in enumerate(names)
        for verb in verbs
        if (verb, name) not in FINE
    ]
    return pytest.mark.parametrize(("name", "verb"), pairs)


@each(PULLS, REFUSALS)
def test_a_refusal_that_has_no_end_is_not_read(
    consumer: Consumer, server: HostileServer, grant: str, name: str, verb: str
) -> None:
    refused(consumer, verb, f"{server.url}/{name}/s2sp/data/{grant}")


@each(["look", "page", "tell", "upload"], SHORT)
def test_a_short_answer_is_short(consumer: Consumer, server: HostileServer, grant: str, name: str, verb: str) -> None:
    refused(consumer, verb, f"{server.url}/{name}/s2sp/data/{grant}")


@each(["pull", "pull_columns", "pull_to"], BODIES)
def test_a_body_has_what_it_announces(
    consumer: Consumer, server: HostileServer, grant: str, name: str, verb: str
) -> None:
    refused(consumer, verb, f"{server.url}/{name}/s2sp/data/{grant}")


@each(["fetch_events", "follow_events"], STREAMS)
def test_events_end(consumer: Consumer, server: HostileServer, name: str, verb: str) -> None:
    refused(consumer, verb, f"{server.url}/{name}/stream")


@each(FETCHES, RAW)
def test_a_file_by_descriptor_has_what_is_announced(
    consumer: Consumer, server: HostileServer, name: str, verb: str
) -> None:
    refused(consumer, verb, f"{server.url}/{name}/file")


def test_the_battery_took_little_memory_and_little_time(consumer: Consumer, figure: Figure) -> None:
    more = consumer.most - consumer.before
    measured = f"{consumer.count} answers: + {more / (1 << 20):.0f} MiB, worst {consumer.worst:.2f} s"
    met = more <= MOST_MORE and consumer.worst < AIM_SECONDS
    figure("hostile answers to a consumer", measured, aim="25 bombs refused in < 2 s each, + 64 MB", met=met)
    assert more <= 2 * MOST_MORE
