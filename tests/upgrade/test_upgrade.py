"""A store written by the version before the packages were rearranged opens: nothing that was stored is lost."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx2
import pytest

from broker_plane import Plane
from broker_plane.config import load_settings
from broker_plane.embedded.broker import stop
from broker_plane.errors import GrantRevokedError, GrantUsedError
from tests.upgrade.stored import HALF, RAW, ROWS

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).resolve().parents[2]
BEFORE = "d87791f"
"""The last commit before version 0.2.0."""


@pytest.fixture(scope="module")
def earlier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as it was, out of the history of this repository."""
    repository = os.environ.get("TESTED_REPOSITORY", str(ROOT))  # .ci/run tests a copy that has no history
    target = tmp_path_factory.mktemp("earlier")
    archive = target / "earlier.tar"
    command = ["git", "-C", repository, "archive", "-o", str(archive), BEFORE, "broker_plane"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        pytest.skip(f"this checkout has no history back to {BEFORE}: {done.stderr.strip()[:200]}")
    with tarfile.open(archive) as files:
        files.extractall(target, filter="data")
    return target


@pytest.fixture(scope="module")
def store(earlier: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A data directory that the earlier version filled, and what it gave out."""
    data_dir = tmp_path_factory.mktemp("store")
    ours = {name: value for name, value in os.environ.items() if not name.startswith(("BROKER_PLANE_", "PYTHON"))}
    env = ours | {"PYTHONPATH": str(earlier), "BROKER_PLANE_DATA_DIR": str(data_dir)}

    def run(*words: str) -> str:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=earlier, env=env, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    try:
        said = run(str(Path(__file__).with_name("write_store.py")), str(data_dir))
    finally:
        run("-m", "broker_plane.cli.main", "down")
    return data_dir, json.loads(said)


@pytest.fixture
async def plane(store: tuple[Path, dict[str, str]]) -> AsyncIterator[Plane]:
    settings = load_settings(data_dir=store[0])
    try:
        async with Plane.connect(settings) as plane:
            yield plane
    finally:
        stop(settings.data_dir)


async def test_a_store_of_the_version_before_opens(plane: Plane, store: tuple[Path, dict[str, str]]) -> None:
    given = {name: at(plane, url) for name, url in store[1].items()}
    await bodies_and_grants(plane, given)
    await feeds(plane)
    await uploads(plane, given)


def at(plane: Plane, url: str) -> str:
    """The same URL at the bridge that runs now."""
    return plane.bridge_url + urlsplit(url).path if "://" in url else url


async def bodies_and_grants(plane: Plane, given: dict[str, str]) -> None:
    assert await plane.pull(given["free"]) == RAW
    assert await plane.pull(given["subject"]) == RAW
    assert await plane.pull(given["columns"]) == [{"text": row["text"]} for row in ROWS[:5]]  # the second use of three
    assert await plane.pull(given["counted"]) == ROWS
    for spent in ("counted", "spent"):
        with pytest.raises(GrantUsedError):
            await plane.pull(given[spent])
    with pytest.raises(GrantRevokedError):
        await plane.pull(given["revoked"])
    assert await plane.pull(given["narrowed"]) == RAW
    with pytest.raises(GrantUsedError):
        await plane.pull(given["narrowed"])


async def feeds(plane: Plane) -> None:
    """The subscriber goes on with the version that it had not acknowledged."""
    seen: list[int] = []
    async for message in plane.subscribe("numbers", durable="reader"):
        seen.append(message.notice.version)
        changes: Any = await message.changes()
        if message.notice.version == 3:
            assert [row["number"] for row in changes.added] == [12]
            break
    assert seen == [2, 3]
    published = await plane.publish(ROWS[:14], feed="numbers", key="number")
    assert published.version == 4


async def uploads(plane: Plane, given: dict[str, str]) -> None:
    """What was uploaded before is there, and the rest completes it."""
    async with httpx2.AsyncClient() as client:
        offset = int((await client.head(given["upload"])).headers["Upload-Offset"])
        assert offset == HALF
        headers = {
            "Upload-Offset": str(offset),
            "Upload-Complete": "?1",
            "Content-Type": "application/partial-upload",
        }
        done = await client.patch(given["upload"], content=RAW[offset:], headers=headers)
        assert done.is_success, done.text
        assert await plane.pull(str(httpx2.URL(given["upload"]).join(done.headers["Content-Location"]))) == RAW
