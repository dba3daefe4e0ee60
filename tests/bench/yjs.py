"""`@y/websocket-server` and `yjs` from npm, fetched once; the server, and the participants that load either side.

The participants are one Node process of unmodified y-websocket clients (yjs_load.cjs), the same for both sides.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import socket
import subprocess
from asyncio.subprocess import DEVNULL, PIPE, create_subprocess_exec
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import platformdirs

from tests.bench.measure import Sample
from tests.bench.peer_env import PeerUnreachableError

PACKAGES = ("@y/websocket-server@0.1.1", "yjs@13.6.33", "y-websocket@3.1.0", "y-protocols@1.0.7", "ws@8.23.0")
NPM_SECONDS = 300
START_SECONDS = 10
LOAD_SECONDS = 240
_HOST = "127.0.0.1"
_LOAD = Path(__file__).with_name("yjs_load.cjs")


def yjs_modules() -> Path:
    """The `node_modules` with both sides' packages, kept in the user's cache.

    Raises:
        PeerUnreachableError: there is no Node here, or the package registry cannot be reached.
    """
    if not (shutil.which("node") and shutil.which("npm")):
        raise PeerUnreachableError("node and npm are not installed; `bash .ci/system` installs them")
    kept = Path(platformdirs.user_cache_dir("broker-plane")) / "bench" / "yjs"
    made = kept / "made"
    if not made.exists() or made.read_text() != " ".join(PACKAGES):
        kept.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-save", "--no-audit", "--no-fund", "--prefix", str(kept), *PACKAGES]
        done = subprocess.run(command, cwd=kept, capture_output=True, text=True, timeout=NPM_SECONDS)
        if done.returncode != 0:
            raise PeerUnreachableError(f"npm install: {done.stderr[-500:]}")
        made.write_text(" ".join(PACKAGES))
    return kept / "node_modules"


def versions() -> Sample:
    """The versions of what is measured."""
    pairs = (package.rpartition("@") for package in PACKAGES)
    return {name: version for name, _, version in pairs}


@asynccontextmanager
async def websocket_server() -> AsyncIterator[str]:
    """`@y/websocket-server`, which stores nothing, for the time of the block; yields its WebSocket URL."""
    with socket.socket() as free:
        free.bind((_HOST, 0))
        port = free.getsockname()[1]
    program = await asyncio.to_thread(yjs_modules) / "@y" / "websocket-server" / "src" / "server.js"
    environment = {**os.environ, "HOST": _HOST, "PORT": str(port)}
    process = await create_subprocess_exec("node", program, env=environment, stdin=DEVNULL, stdout=PIPE)
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), START_SECONDS)
        if not line:
            raise RuntimeError("The y-websocket server ended; what it said is above")
        yield f"ws://{_HOST}:{port}"
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def load(url: str, room: str, **asked: int) -> Sample:
    """What the participants of yjs_load.cjs measured at `url`.

    Raises:
        RuntimeError: they did not end with one text that has every edit, or not in time.
    """
    modules = await asyncio.to_thread(yjs_modules)
    command = ("node", _LOAD, json.dumps({"url": url, "room": room, **asked}))
    environment = {**os.environ, "NODE_PATH": str(modules)}
    process = await create_subprocess_exec(*command, env=environment, stdin=DEVNULL, stdout=PIPE, stderr=PIPE)
    try:
        out, err = await asyncio.wait_for(process.communicate(), LOAD_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise RuntimeError(f"The participants failed: {err.decode(errors='replace')[-500:]}")
    return _sample(json.loads(out), asked)


def _sample(found: dict[str, Any], asked: dict[str, int]) -> Sample:
    """At a given rate the latencies count, and at full speed the time."""
    verified = {"rows": found["rows"], "checksum": found["checksum"]}
    if asked.get("per_second"):
        return {"p50": found["p50"], "p99": found["p99"], **verified}
    return {"ms": found["ms"], "edits/s": 1_000 * found["rows"] / found["ms"], **verified}
