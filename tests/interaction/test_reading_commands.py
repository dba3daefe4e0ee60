"""`broker-plane read` and `broker-plane describe`: text for people and pipes, JSON for programs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from tests.interaction.conftest import Forked

pytestmark = pytest.mark.anyio
ROWS = [{"event": f"e{row}", "level": row} for row in range(80)]


async def test_a_body_is_read_and_described_on_the_command_line(
    settings: Settings, forked: Forked, tmp_path: Path
) -> None:
    import anyio.to_thread

    async with Plane.connect(settings) as plane:
        table = (await plane.publish(ROWS, uses=1)).resource_url
        text = (await plane.publish(b"one\ttab\n\x1b[31mred\n", media_type="text/plain", uses="unlimited")).resource_url
        host = plane.bridge_url.partition("//")[2]
        env = {"BROKER_PLANE_NATS_URL": settings.nats_url, "BROKER_PLANE_DATA_DIR": str(settings.data_dir)}
        env |= {"BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:9", "BROKER_PLANE_TRUSTED_HOSTS": host}
        words: list[list[str]] = [
            ["read", table, "--where", "level >= 78", "--columns", "event"],
            ["read", table, "--page", "1", "--max-tokens", "50"],
            ["read", table, "--tail", "1", "--json"],
            ["read", text],
            ["read", text, "--grep", "("],
            ["read", table, "--head", "1", "--tail", "1", "--json"],
            ["describe", table],
            ["describe", table, "--json"],
        ]
        cases: list[dict[str, Any]] = [
            {"words": each, "env": env, "cwd": str(tmp_path), "seconds": 60} for each in words
        ]
        filtered, cut, last, raw, wrong, both, told, fields = await anyio.to_thread.run_sync(forked, cases)
    assert filtered["out"] == "_row_id,event\n78,e78\n79,e79\n"
    assert filtered["err"] == "2 rows of 2, from number 78\n"
    assert "next: --rows " in cut["err"]
    assert json.loads(last["out"])["text"] == "_row_id,event,level\n79,e79,79"
    assert raw["out"] == "one\ttab\n\x1b[31mred\n"
    assert (wrong["code"], "RE2" in wrong["err"]) == (1, True)
    assert (both["code"], "Give one of" in both["err"]) == (1, True)
    assert told["out"].splitlines() == [
        "table: rows 80, column count 2",
        '- event: str; nulls 0, distinct 80, min e0, max e9, examples ["e0","e1","e2","e3","e4"]',
        "- level: int; nulls 0, distinct 80, min 0, max 79, examples [0,1,2,3,4]",
    ]
    assert json.loads(fields["out"])["rows"] == 80
