"""A gigabyte and ten million rows: producer, bridge and consumer each stay under 200 MB, over HTTP and over NATS."""

from __future__ import annotations

import os
from collections.abc import Mapping
from hashlib import file_digest, sha256
from pathlib import Path
from typing import Any

import pytest

from broker_plane.testing.processes import peak_memory
from tests.faults.conftest import Home

pytestmark = pytest.mark.anyio
BOUND = 200_000_000
PATIENCE_SECONDS = 900
PIECE = 1_000_000


def write(path: Path, size: int) -> str:
    """A file of random bytes; returns its SHA-256."""
    digest = sha256()
    with path.open("wb") as file:
        for _ in range(0, size, PIECE):
            piece = os.urandom(PIECE)
            digest.update(piece)
            file.write(piece)
    return digest.hexdigest()


def check(home: Home, producer: Mapping[str, Any], consumers: Mapping[str, Mapping[str, Any]], what: str) -> None:
    """Print what each process took at most, and hold it against the bound."""
    took = {"producer": producer["memory"], "bridge": peak_memory(home.running().bridge_pid)}
    took |= {f"consumer over {via}": said["memory"] for via, said in consumers.items()}
    print(f"\n{what}: " + ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in took.items()))
    assert {name: size for name, size in took.items() if size >= BOUND} == {}


@pytest.mark.parametrize("size", [100_000_000, pytest.param(1_000_000_000, marks=pytest.mark.full)])
async def test_a_large_file_takes_bounded_memory(home: Home, tmp_path: Path, size: int) -> None:
    digest = write(tmp_path / "file", size)
    producer = await home.act("publish_file", tmp_path / "file").said(PATIENCE_SECONDS)
    consumers = {}
    for via in ("http", "nats"):
        pulled = tmp_path / via
        consumers[via] = await home.act("pull_to", producer["url"], via, pulled).said(PATIENCE_SECONDS)
        with pulled.open("rb") as file:
            assert file_digest(file, "sha256").hexdigest() == digest
        pulled.unlink()
    check(home, producer, consumers, f"{size:,} bytes")


@pytest.mark.parametrize("count", [300_000, pytest.param(10_000_000, marks=pytest.mark.full)])
async def test_an_iterator_of_many_rows_takes_bounded_memory(home: Home, count: int) -> None:
    producer = await home.act("publish_rows", count).said(PATIENCE_SECONDS)
    consumers = {}
    for via in ("http", "nats"):
        consumers[via] = await home.act("iterate", producer["url"], via).said(PATIENCE_SECONDS)
        assert (consumers[via]["rows"], consumers[via]["total"]) == (count, count * (count - 1) // 2)
    check(home, producer, consumers, f"{count:,} rows, {producer['size']:,} bytes")
