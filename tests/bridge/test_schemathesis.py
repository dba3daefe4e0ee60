"""schemathesis sends what the OpenAPI document allows, and what it does not, to a bridge: no answer is against it."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import anyio.to_thread
import pytest

from broker_plane.runtime.wiring import Wiring
from tests.bridge.uploads import taking_uploads
from tests.interop.environments import python_with

pytestmark = pytest.mark.anyio
DOCUMENT = Path(__file__).parents[2] / "broker_plane" / "bridge" / "openapi.yaml"
SCHEMATHESIS = "schemathesis==4.32.5"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
CONFIG = """
[parameters]
"path.grant" = "{data}"

[[operations]]
include-path = "/s2sp/upload/{{grant}}"
[operations.parameters]
"path.grant" = "{upload}"
"""


@pytest.mark.parametrize("examples", [4, pytest.param(200, marks=pytest.mark.full)])
@pytest.mark.parametrize("anyio_backend", [("asyncio", {"use_uvloop": True})], indirect=True)
async def test_no_answer_is_against_the_document(wiring: Wiring, tmp_path: Path, examples: int) -> None:
    python = await anyio.to_thread.run_sync(python_with, "schemathesis", SCHEMATHESIS)
    async with taking_uploads(wiring) as bridge:
        grant = await bridge.grant(ttl=600)
        done = await bridge.grant(ttl=600)
        answer = await bridge.ask("PUT", done.upload_url, b"body")
        data = answer.headers["content-location"].rpartition("/")[2]
        (tmp_path / "schemathesis.toml").write_text(CONFIG.format(data=data, upload=grant.grant))
        command = [
            *(str(python.with_name("schemathesis")), "run", str(DOCUMENT), "--url", bridge.url),
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
    print(ran.stdout[-400:])
    assert ran.returncode == 0, ran.stdout[-6000:] + ran.stderr[-1000:]
