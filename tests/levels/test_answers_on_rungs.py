"""The code that the scripted provider gives works on every sandbox of this machine, through the real door."""

from __future__ import annotations

import os

import pytest

from broker_plane.levels.door import HostDoor
from broker_plane.levels.providers.code_text import code_of
from broker_plane.levels.reach_list import reach_list
from broker_plane.sandbox.ladder import default_rungs
from broker_plane.sandbox.ports import Job, Rung, RunLimits, RunVerdict
from broker_plane.wire.descriptor import parse_descriptor
from demos.levels_rows import csv_of
from demos.levels_scripted import ANSWERS
from tests.levels.foreign import Foreign, foreign
from tests.sandbox.doors import KeepingSink

ROWS = 700
LIMITS = RunLimits(seconds=120)


pytestmark = pytest.mark.anyio


@pytest.fixture(params=default_rungs(), ids=lambda rung: str(rung.name))
def rung(request: pytest.FixtureRequest) -> Rung:
    found: Rung = request.param
    if why := found.unavailable():
        (pytest.fail if os.environ.get("CI", "").lower() in ("1", "true") else pytest.skip)(why)
    return found


async def run(rung: Rung, server: Foreign, answer: str) -> tuple[RunVerdict, bytes]:
    descriptor = parse_descriptor(server.descriptor)
    door = HostDoor(descriptor, LIMITS, reach=reach_list(descriptor), networks=("127.0.0.0/8",))
    source = code_of((ANSWERS / f"{answer}.txt").read_text())
    kept = KeepingSink()
    try:
        inputs = {"ENDPOINT": descriptor.endpoint, "FORMAT": descriptor.format}
        return await rung.run(Job(source=source, inputs=inputs, limits=LIMITS), door, kept), kept.content
    finally:
        await door.aclose()


@pytest.mark.parametrize(
    ("protocol", "first", "second"),
    [
        ("x-signed-pages", "x-signed-pages-1", "x-signed-pages-2"),
        ("x-framed-tcp", "x-framed-tcp-2", "x-framed-tcp-3"),
        ("x-ticker-events", "x-ticker-events-2", "x-ticker-events-3"),
    ],
)
async def test_each_version_has_code_that_works_and_the_other_one_fails_there(
    rung: Rung, protocol: str, first: str, second: str
) -> None:
    with foreign(protocol, rows=ROWS) as server:
        works, content = await run(rung, server, first)
        assert (works.status, works.detail, content) == ("ok", "", csv_of(ROWS))
        server.change_api()
        fails, _ = await run(rung, server, first)
        assert fails.status == "failed", fails
        works, content = await run(rung, server, second)
        assert (works.status, content) == ("ok", csv_of(ROWS)), works


async def test_the_answers_that_are_wrong_are_wrong_in_two_ways(rung: Rung) -> None:
    with foreign("x-framed-tcp", rows=ROWS) as server:
        raised, _ = await run(rung, server, "x-framed-tcp-1")
    assert raised.status == "failed" and "CRC mismatch" in raised.detail
    with foreign("x-ticker-events", rows=ROWS) as server:
        wrong, content = await run(rung, server, "x-ticker-events-1")
    assert wrong.status == "ok" and content != csv_of(ROWS)
