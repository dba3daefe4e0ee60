"""A → transform → C: each step's output into the next, a report by step, and a crash in the middle."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from broker_plane.errors import ChainError, TransferError
from broker_plane.testing.processes import until
from broker_plane.transfer.chain import ChainFailedError, Report, run_chain
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.descriptor import Descriptor
from tests.forked import ForkedActor
from tests.transfer.conftest import BODY, describe
from tests.transfer.servers import WebServer, web

pytestmark = pytest.mark.anyio
PACKED = gzip.compress(BODY, mtime=0)


def chain(server: WebServer, raw: bytes = BODY) -> list[Descriptor]:
    """A body is fetched, compressed by a service, and put where another waits for it."""
    return [
        describe("http", server.url + "/body", **there(raw)),
        describe("http", server.url + "/transform", mode="push", **there(gzip.compress(raw, mtime=0))),
        describe("http", server.url + "/put-here", mode="push", method="PUT", size_hint=None, checksum=None),
    ]


def there(raw: bytes) -> dict[str, Any]:
    return {"size_hint": len(raw), "checksum": "sha256:" + hashlib.sha256(raw).hexdigest()}


async def test_each_step_gives_the_next_its_bytes(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    told: list[Report] = []
    report = await run_chain(transfers, chain(server), tmp_path / "run", on_report=told.append)
    assert server.put["/put-here"] == PACKED
    assert [(step.state, step.size) for step in report.steps] == [
        ("done", len(BODY)),
        ("done", len(PACKED)),
        ("done", len(PACKED)),
    ]
    assert [sum(step.state == "done" for step in each.steps) for each in told] == [1, 2, 3]


async def test_a_chain_goes_on_at_the_step_that_failed(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    steps = chain(server)
    server.broken = True
    with pytest.raises(ChainFailedError, match="Step 1") as raised:
        await run_chain(transfers, steps, tmp_path / "run")
    assert [step.state for step in raised.value.report.steps] == ["done", "failed", "waiting"]
    server.broken = False
    report = await run_chain(transfers, steps, tmp_path / "run")
    assert [step.resumed for step in report.steps] == [True, False, False]
    assert server.asked.count("/body") == 1
    assert server.put["/put-here"] == PACKED


@pytest.mark.parametrize(
    ("path", "fields", "code"),
    [
        ("/transform", {"size_hint": len(PACKED) - 1}, "wrong_size"),
        ("/transform", {"checksum": "sha256:" + "0" * 64}, "wrong_checksum"),
        ("/transform", {"compression": "zstd"}, "wrong_compression"),
        ("/bomb.gz", {"compression": "gzip", "size_hint": None, "checksum": None}, "too_large"),
    ],
)
async def test_what_a_service_answers_is_checked_and_not_handed_on(
    transfers: Transfers, server: WebServer, tmp_path: Path, path: str, fields: dict[str, Any], code: str
) -> None:
    first, _, last = chain(server)
    second = describe("http", server.url + path, mode="push", **(there(PACKED) | fields))
    with pytest.raises(ChainFailedError) as raised:
        await run_chain(transfers, [first, second, last], tmp_path / "run")
    assert [step.code for step in raised.value.report.steps] == ["", code, ""]
    assert {path.name for path in (tmp_path / "run").glob("step-*")} == {"step-0.out"}
    assert not server.put


async def test_a_chain_that_is_cancelled_repeats_only_what_was_not_done(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    steps = chain(server)
    done: list[Report] = []

    def stop(report: Report) -> None:
        done.append(report)
        running.cancel()

    running = asyncio.create_task(run_chain(transfers, steps, tmp_path / "run", on_report=stop))
    with pytest.raises(asyncio.CancelledError):
        await running
    assert len(done) == 1
    report = await run_chain(transfers, steps, tmp_path / "run")
    assert report.steps[0].resumed
    assert server.put["/put-here"] == PACKED


async def test_an_output_that_was_changed_is_made_again(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    steps = chain(server)
    await run_chain(transfers, steps, tmp_path / "run")
    (tmp_path / "run" / "step-0.out").write_bytes(b"other")
    report = await run_chain(transfers, steps, tmp_path / "run")
    assert [step.resumed for step in report.steps] == [False, False, False]
    assert server.asked == ["/body", "/transform", "/put-here"] * 2
    with pytest.raises(TransferError, match="another chain"):
        await run_chain(transfers, chain(server), tmp_path / "run")


@pytest.mark.parametrize("every", [3, pytest.param(1, marks=pytest.mark.full)])
async def test_a_chain_that_is_killed_at_any_point_goes_on_there(tmp_path: Path, every: int) -> None:
    raw = BODY[:10_000]
    packed = gzip.compress(raw, mtime=0)
    want = [hashlib.sha256(each).hexdigest() for each in (raw, packed, packed)]
    kept = []
    runner = ForkedActor("tests.transfer.chain_runner", tmp_path, every)
    try:
        with web(raw) as server:
            runner.tell(json.dumps([descriptor.to_wire() for descriptor in chain(server, raw)]))
            killed = True
            while killed:
                left = await runner.said()
                server.asked.clear()
                runner.tell()
                told = await runner.said()
                killed = told["killed"]
                assert [step["digest"] for step in told["steps"]] == want
                whole = [f"step-{number}.out" in left["files"] for number in range(3)]
                assert [step["resumed"] for step in told["steps"]] == whole
                assert whole.count(True) - left["done"] in (0, 1)
                fetched = whole[0] or left["files"].get("step-0.out.part") == len(raw)  # else it is asked for
                done = {"/body": fetched, "/transform": whole[1], "/put-here": whole[2]}
                assert server.asked == [path for path in done if not done[path]]
                assert server.put["/put-here"] == packed
                kept.append(whole.count(True))
    finally:
        runner.close()
    print(f"\nkilled at {len(kept) - 1} points, and went on each time")
    assert len(kept) * every > 30
    assert kept == sorted(kept)
    assert set(kept) == {0, 1, 2, 3}


async def test_a_download_that_was_cut_short_goes_on_in_another_run(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    for said in (len(BODY), None):
        for size in (2, 500_000, len(BODY)):
            run = tmp_path / f"{said} {size}"
            steps = [describe("http", server.url + "/body", size_hint=said)]
            part = await left_behind(transfers, steps, run)
            part.write_bytes(BODY[:size])
            server.ranges.clear()
            report = await run_chain(transfers, steps, run)
            assert report.output is not None
            assert report.output.read_bytes() == BODY
            whole = size == len(BODY) == said
            assert server.ranges == ([] if whole else [f"bytes={size if said else size - 1}-"])


async def test_a_part_that_is_of_something_else_is_not_gone_on_with(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    steps = [describe("http", server.url + "/body")]
    part = await left_behind(transfers, steps, tmp_path / "run")
    part.write_bytes(b"other bytes")
    with pytest.raises(ChainFailedError, match="do not have the SHA-256"):
        await run_chain(transfers, steps, tmp_path / "run")
    assert not part.exists()
    assert (await run_chain(transfers, steps, tmp_path / "run")).output
    # Without a checksum nothing holds two parts together: it is fetched anew.
    steps = [describe("http", server.url + "/body", checksum=None)]
    part = await left_behind(transfers, steps, tmp_path / "unsaid")
    part.write_bytes(b"other bytes")
    report = await run_chain(transfers, steps, tmp_path / "unsaid")
    assert report.output is not None
    assert report.output.read_bytes() == BODY


async def left_behind(transfers: Transfers, steps: list[Descriptor], run: Path) -> Path:
    """The part of step 0, in a directory where its chain was cancelled in the middle of it."""
    begun = asyncio.Event()
    running = asyncio.create_task(run_chain(transfers, steps, run, progress=lambda *_: begun.set()))
    await begun.wait()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    part = run / "step-0.out.part"
    assert part.exists()
    return part


async def test_a_step_that_is_not_done_may_get_another_descriptor(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    steps = chain(server)
    steps[1] = steps[1].model_copy(update={"expires": datetime(2020, 1, 1, tzinfo=UTC)})
    with pytest.raises(ChainFailedError, match="Step 1 failed: This descriptor has expired"):
        await run_chain(transfers, steps, tmp_path / "run")
    report = await run_chain(transfers, [steps[0], *chain(server)[1:]], tmp_path / "run")
    assert [step.resumed for step in report.steps] == [True, False, False]
    with pytest.raises(TransferError, match="another chain"):
        await run_chain(transfers, [chain(server)[0], *steps[1:]], tmp_path / "run")


async def test_a_chain_runs_once_at_a_time(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    steps = chain(server)
    server.gate.clear()
    running = asyncio.create_task(run_chain(transfers, steps, tmp_path / "run"))
    try:
        await until(lambda: "/transform" in server.asked, "the second step")
        with pytest.raises(ChainError, match="Another process"):
            await run_chain(transfers, steps, tmp_path / "run")
    finally:
        server.gate.set()
    await running


async def test_a_push_in_several_parts_is_a_step_as_well(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    size = 500_000
    urls = [f"{server.url}/part-{number}" for number in range(-(-len(BODY) // size))]
    multipart = {"part_size": size, "parts": urls, "complete": server.url + "/complete"}
    parts = describe("s3-presigned", server.url, mode="push", multipart=multipart)
    report = await run_chain(transfers, [describe("http", server.url + "/body"), parts], tmp_path / "run")
    assert b"".join(server.put[f"/part-{number}"] for number in range(len(urls))) == BODY
    assert report.output is not None
    assert report.output.read_bytes() == BODY
