"""A → transform → C: each step's output into the next, a report by step, and a crash in the middle."""

from __future__ import annotations

import asyncio
import gzip
import hashlib
from pathlib import Path

import pytest

from broker_plane.errors import TransferError
from broker_plane.transfer.chain import ChainFailedError, Report, run_chain
from broker_plane.transfer.fetch import Transfers
from broker_plane.wire.descriptor import Descriptor
from tests.transfer.conftest import BODY, describe
from tests.transfer.servers import WebServer

pytestmark = pytest.mark.anyio
PACKED = gzip.compress(BODY, mtime=0)


def chain(server: WebServer, transform: str = "/transform") -> list[Descriptor]:
    """A body is fetched, compressed by a service, and put where another waits for it."""
    packed = {"size_hint": len(PACKED), "checksum": "sha256:" + hashlib.sha256(PACKED).hexdigest()}
    return [
        describe("http", server.url + "/body"),
        describe("http", server.url + transform, mode="push", **packed),
        describe("http", server.url + "/put-here", mode="push", method="PUT", size_hint=None, checksum=None),
    ]


async def test_each_step_gives_the_next_its_bytes(transfers: Transfers, server: WebServer, tmp_path: Path) -> None:
    told: list[Report] = []
    report = await run_chain(transfers, chain(server), tmp_path / "run", told=told.append)
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


async def test_a_chain_that_is_killed_repeats_only_what_was_not_done(
    transfers: Transfers, server: WebServer, tmp_path: Path
) -> None:
    steps = chain(server)
    done: list[Report] = []

    def stop(report: Report) -> None:
        done.append(report)
        running.cancel()

    running = asyncio.create_task(run_chain(transfers, steps, tmp_path / "run", told=stop))
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
    assert not report.steps[0].resumed
    assert server.asked.count("/body") == 2
    with pytest.raises(TransferError, match="another chain"):
        await run_chain(transfers, chain(server), tmp_path / "run")
