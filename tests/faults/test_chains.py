"""`broker-plane chain` is killed in the middle of each of its steps: the same command goes on, and repeats nothing."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import random
import signal
from pathlib import Path
from typing import Any
from uuid import uuid4

import anyio
import httpx2
import pytest

from broker_plane.testing.processes import Actor, until
from broker_plane.testing.proxy import CuttingProxy
from tests.faults.conftest import STORE_BYTES, Home, Stage
from tests.transfer.servers import WebServer, web
from tests.trusting import HOSTS

pytestmark = pytest.mark.anyio
SIZE = 4_000_000
BODY = random.Random(11).randbytes(SIZE)
PACKED = gzip.compress(BODY, mtime=0)
SLOW = 1_000_000
"""Bytes a second through the proxy until the process is killed, so that it cannot get to the end before."""


def descriptor(mode: str, endpoint: str, **fields: Any) -> dict[str, Any]:
    said = {"$schema": "mcp/transfer-descriptor/v1", "transfer_id": str(uuid4()), "protocol": "http"}
    return said | {"mode": mode, "endpoint": endpoint, "format": "application/octet-stream"} | fields


async def test_a_chain_from_a_body_to_a_body_is_killed_in_each_step(home: Home, stage: Stage, tmp_path: Path) -> None:
    file, run = tmp_path / "chain.json", tmp_path / "chain.run"

    def start() -> Actor:
        return started(stage, home, file)

    def done() -> list[str]:
        steps = json.loads((run / "report.json").read_bytes())["steps"]
        return [step["digest"] for step in steps if step["state"] == "done"]

    with web(b"") as transform:
        async with home.connect() as plane, httpx2.AsyncClient(trust_env=False) as http:
            body = await plane.publish(BODY, uses=1, ttl=3600)
            grant = await plane.uploads.grant(ttl=3600, uses=1)
            async with CuttingProxy(plane.bridge_url, bytes_per_second=SLOW, asked_per_second=SLOW) as proxy:

                def through(url: str) -> str:
                    return url.replace(plane.bridge_url, proxy.url)

                there = {"size_hint": SIZE, "checksum": "sha256:" + hashlib.sha256(BODY).hexdigest()}
                steps = [
                    descriptor("fetch", through(body.resource_url), **there),
                    descriptor("push", transform.url + "/pack", method="POST"),
                    descriptor("push", through(grant.upload_url), format="application/gzip"),
                ]
                file.write_text(json.dumps(steps))
                transform.gate.clear()

                await killed_in_the_download(start(), run, proxy)
                kept = (run / "step-0.out.part").stat().st_size
                assert done() == []

                await killed_in_the_transformation(start(), transform)
                assert done() == [hashlib.sha256(BODY).hexdigest()]
                came = proxy.received

                proxy.asked = 0
                await killed_in_the_upload(start(), http, grant.upload_url)
                assert len(done()) == 2

                proxy.asked_per_second = 0
                report = await start().said()
                assert report["done"]
                assert [step["resumed"] for step in report["steps"]] == [True, True, False]
                assert proxy.received - came < 100_000  # answers without a body
                assert transform.asked == ["/pack", "/pack"]  # the one of which nothing was there, and the other
                url = report["steps"][2]["resource_url"].replace(proxy.url, plane.bridge_url)
                assert await plane.pull(url) == PACKED
                print(f"\ndownload: {kept:,} of {SIZE:,} bytes kept at the kill, {came / SIZE - 1:.2%} sent again")
                print(f"upload of {len(PACKED):,} bytes: {proxy.asked / len(PACKED) - 1:.2%} sent again")
                assert kept > 300_000
                assert came < 1.05 * SIZE
                assert proxy.asked < 1.15 * len(PACKED)  # what the bridge had not acknowledged at the kill
            again = await start().said()
            assert [step["resumed"] for step in again["steps"]] == [True, True, True]
            assert [step["digest"] for step in again["steps"]] == [step["digest"] for step in report["steps"]]


def started(stage: Stage, home: Home, file: Path) -> Actor:
    return stage.run(
        "broker_plane.cli.main",
        *("chain", file, "--json"),
        data_dir=home.settings.data_dir,
        max_store_bytes=STORE_BYTES,
        transfer_networks="127.0.0.1/32",
        trusted_hosts=HOSTS,
    )


async def killed_in_the_download(process: Actor, run: Path, proxy: CuttingProxy) -> None:
    part = run / "step-0.out.part"
    await until(lambda: part.exists() and part.stat().st_size > 300_000, "a part of the download")
    process.kill()
    proxy.bytes_per_second = 0


async def killed_in_the_transformation(process: Actor, transform: WebServer) -> None:
    await until(lambda: transform.asked, "the bytes at the service")
    process.kill()
    transform.gate.set()


async def killed_in_the_upload(process: Actor, http: httpx2.AsyncClient, url: str) -> None:
    async def far() -> bool:
        return int((await http.head(url)).headers["upload-offset"]) > 1_000_000

    await until(far, "a part of the upload")
    process.kill()


async def test_ctrl_c_leaves_a_chain_that_goes_on(home: Home, stage: Stage, tmp_path: Path) -> None:
    with web(BODY) as server:
        file = tmp_path / "chain.json"
        steps = [descriptor("fetch", server.url + "/body"), descriptor("push", server.url + "/pack", method="POST")]
        file.write_text(json.dumps(steps))
        server.gate.clear()
        first = started(stage, home, file)
        await until(lambda: "/pack" in server.asked, "the bytes at the service")
        os.kill(first.pid, signal.SIGINT)
        with pytest.raises(EOFError, match="code 130"):
            await first.said()
        server.gate.set()
        report = await started(stage, home, file).said()
        assert [step["resumed"] for step in report["steps"]] == [True, False]
        assert await anyio.Path(report["output"]).read_bytes() == PACKED
