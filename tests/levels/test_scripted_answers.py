"""The scripted provider: it says that it is scripted, and all processes that use its directory share one count."""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from demos.levels_protocols import PROTOCOLS
from demos.levels_scripted import ANSWERS, NAMES, calls_in
from tests.levels.foreign import ROOT


def ask(prompt: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "demos.levels_scripted", str(directory)],
        input=prompt,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_it_knows_the_protocols_of_the_foreign_servers() -> None:
    assert (*PROTOCOLS,) == NAMES
    assert {path.name.rpartition("-")[0] for path in ANSWERS.iterdir()} == {*NAMES}


def test_processes_that_ask_at_once_get_one_answer_each(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:
        asked = [*pool.map(lambda _: ask("about x-framed-tcp", tmp_path), range(4))]
    given = sorted(each.stdout for each in asked if not each.returncode)
    assert given == sorted((ANSWERS / f"x-framed-tcp-{number}.txt").read_text() for number in (1, 2, 3))
    (refused,) = (each for each in asked if each.returncode)
    assert refused.stderr.strip() == "This provider is scripted, and has no answer 4 for x-framed-tcp"
    assert [call.answer for call in calls_in(tmp_path)] == [f"x-framed-tcp-{number}" for number in (1, 2, 3)]


def test_a_prompt_about_something_else_is_refused(tmp_path: Path) -> None:
    refused = ask("about x-unheard-of", tmp_path)
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "This provider is scripted" in refused.stderr
    assert calls_in(tmp_path) == []
