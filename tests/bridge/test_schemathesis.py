"""schemathesis sends what the OpenAPI document allows, and what it does not, to a bridge: no answer is against it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anyio.to_thread
import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from tests.interop.environments import python_with

pytestmark = pytest.mark.anyio
ROOT = Path(__file__).parents[2]
SCHEMATHESIS = "schemathesis==4.32.5"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
ROWS = [{"id": number, "event": "Flood", "text": f"row {number}"} for number in range(5)]
CONFIG = """
[parameters]
"path.grant" = "{data}"

[[operations]]
include-path = "/s2sp/upload/{{grant}}"
parameters = {{ "path.grant" = "{upload}" }}

[[operations]]
include-path = "/v1/streams/{{grant}}"
parameters = {{ "path.grant" = "{stream}" }}

[[operations]]
include-path-regex = "^/v1/feeds/"
parameters = {{ "path.grant" = "{feed}", "path.version" = "2" }}
"""


async def grants(plane: Plane) -> dict[str, str]:
    """A grant of each kind for what is really there."""
    async with plane.streams.publish(ttl=3600) as stream:
        for row in ROWS:
            await stream.send(row)
    await plane.publish(ROWS, feed="alerts", key="id")
    await plane.publish(ROWS[1:], feed="alerts", key="id")
    found = {
        "data": (await plane.publish(ROWS, uses="unlimited", ttl=3600)).resource_url,
        "upload": (await plane.uploads.grant(ttl=3600)).upload_url,
        "feed": (await plane.feeds.grant("alerts")).grant,
        "stream": stream.grant,
    }
    return {kind: address.rpartition("/")[2] for kind, address in found.items()}


@pytest.mark.parametrize("examples", [4, pytest.param(200, marks=pytest.mark.full)])
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], indirect=True)
async def test_no_answer_is_against_the_document(settings: Settings, tmp_path: Path, examples: int) -> None:
    python = await anyio.to_thread.run_sync(python_with, "schemathesis", SCHEMATHESIS)
    async with Plane.connect(settings) as plane:
        (tmp_path / "schemathesis.toml").write_text(CONFIG.format(**await grants(plane)))
        command = [
            *(
                str(python.with_name("schemathesis")),
                "run",
                str(ROOT / "broker_plane" / "bridge" / "openapi.yaml"),
                "--url",
                plane.bridge_url,
            ),
            *("--max-examples", str(examples), "--checks", CHECKS, "--phases", "coverage,fuzzing"),
            *("--request-timeout", "20", "--exclude-path", "/metrics", "--generation-deterministic"),
        ]
        env = {"PATH": os.environ["PATH"], "SCHEMATHESIS_HOOKS": "schemathesis_hooks", "NO_COLOR": "1"}
        env["PYTHONPATH"] = str(Path(__file__).parent)

        def run() -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                command, cwd=tmp_path, env=env, capture_output=True, text=True, timeout=900, check=False
            )

        ran = await anyio.to_thread.run_sync(run)
    print(ran.stdout[-800:])
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-1000:]
