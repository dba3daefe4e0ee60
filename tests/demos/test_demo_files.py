"""The story of files: every result is what its file gives, and no file went through the agent."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable

import pytest

Start = Callable[..., subprocess.CompletedProcess[str]]


def test_files_are_processed_by_descriptor_and_a_large_one_is_resumed(start: Start) -> None:
    done = start("broker_plane.cli.main", "demo", "files", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["verified"]
    assert {each["name"] for each in told["files"]} == {"minutes.pdf", "tides.txt", "sign.png", "harbour.png"}
    results = {one["file"]: one for one in told["results"]}
    assert results["harbour.png"]["cuts"] == 3
    assert results["harbour.png"]["sent_again_percent"] < 5
    assert told["agent_bytes"] < told["file_bytes"] / 1000
    if shutil.which("tesseract") is None:
        assert "tesseract is not installed" in results["sign.png"]["note"]
        assert (results["sign.png"]["skipped"], results["sign.png"]["verified"]) == (True, False)
    else:
        assert results["sign.png"]["result_bytes"]


@pytest.mark.full
def test_people_get_the_whole_story_in_eighty_columns(start: Start) -> None:
    done = start("broker_plane.cli.main", "demo", "files", "--cuts", "1")
    assert done.returncode == 0, done.stderr
    for words in ("minutes.pdf", "extract_text", "12,975,380", "cuts of its connection: 1", "through the agent went"):
        assert words in done.stdout
    table = [line for line in done.stdout.splitlines() if line and line[0] in "┏┃┡│└"]
    assert table
    assert max(map(len, table)) <= 80
    assert "…" not in done.stdout
