"""The comparison with another version: what paired rounds say, and the command in a repository of its own."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from math import exp
from pathlib import Path
from time import monotonic, sleep
from typing import Any

import psutil
import pytest

from tests.bench.__main__ import INTERRUPTED, USAGE, options
from tests.bench.against import Clock, rows_of
from tests.bench.cases import GROUPS, cases
from tests.bench.lines import ROOT
from tests.bench.paired import LEAST_ROUNDS, interval
from tests.bench.ref_env import CODE, RefError, commit_of

RUN_SECONDS = 500
SMALLEST = "whole way in one process, 8x29"
IDENTITY = ("-c", "user.name=test", "-c", "user.email=test@example.org", "-c", "commit.gpgsign=false")


def noisy(factor: float, spread: float, rounds: int = 40, seed: int = 1) -> tuple[list[float], list[float]]:
    """Two series whose true ratio is `factor`; the machine's load moves both, and each sample has noise of its own."""
    dice = random.Random(seed)
    load = [exp(dice.gauss(0, 0.5)) for _ in range(rounds)]
    sides = [[20 * each * exp(dice.gauss(0, spread)) for each in load] for _ in range(2)]
    return [factor * each for each in sides[0]], sides[1]


@pytest.mark.parametrize(
    ("factor", "spread", "verdict"),
    [
        (1.00, 0.01, "not slower"),
        (0.50, 0.10, "not slower"),
        (1.02, 0.005, "not slower"),
        (1.05, 0.005, "slower"),
        (1.10, 0.05, "slower"),
        (2.00, 0.30, "slower"),
        (1.03, 0.05, "noise"),
        (1.00, 0.50, "noise"),
        (1.05, 0.50, "noise"),
    ],
)
def test_a_known_series_has_its_verdict(factor: float, spread: float, verdict: str) -> None:
    found = interval(*noisy(factor, spread))
    assert found.verdict == verdict
    assert found.bounds
    assert found.bounds[0] <= found.ratio <= found.bounds[1]


def test_the_interval_holds_the_true_ratio_in_95_of_100_series() -> None:
    intervals = [interval(*noisy(1.04, 0.1, rounds=12, seed=seed)).bounds for seed in range(400)]
    held = sum(bounds is not None and bounds[0] <= 1.04 <= bounds[1] for bounds in intervals)
    assert held / len(intervals) >= 0.92


def test_an_outlier_of_either_side_moves_no_verdict() -> None:
    now, ref = noisy(1.00, 0.01)
    assert interval([*now[:-2], 100 * now[-2], now[-1]], [*ref[:-1], ref[-1] / 50]).verdict == "not slower"


def test_bounds_are_those_of_the_signed_rank_table() -> None:
    """For 6 rounds the smallest and largest ratio; for 10 the ninth Walsh averages (tables of the test: T = 8)."""
    ratios = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0]
    assert interval(ratios, [1.0] * 6).bounds == pytest.approx((1.0, 32.0))
    ratios = [2.0**power for power in range(10)]
    walsh = sorted((a + b) / 2 for a in range(10) for b in range(a, 10))
    assert interval(ratios, [1.0] * 10).bounds == pytest.approx((2 ** walsh[8], 2 ** walsh[-9]))


@pytest.mark.parametrize("rounds", range(1, LEAST_ROUNDS))
def test_too_few_rounds_have_a_ratio_and_no_interval(rounds: int) -> None:
    found = interval([2.0] * rounds, [1.0] * rounds)
    assert found.ratio == pytest.approx(2)
    assert (found.bounds, found.verdict) == (None, "too few rounds")
    assert not found.is_settled


@pytest.mark.parametrize(("factor", "spread", "settled"), [(1.0, 0.01, True), (1.2, 0.05, False), (1.03, 0.005, True)])
def test_a_row_ends_early_when_it_is_below_or_narrow_and_never_because_it_looks_slower(
    factor: float, spread: float, settled: bool
) -> None:
    assert interval(*noisy(factor, spread)).is_settled is settled


def test_every_question_to_our_own_side_is_a_row_once() -> None:
    rows = rows_of(cases(",".join(GROUPS), quick=False, rounds=None))
    assert len({row.name for row in rows}) == len({json.dumps(row.ours) for row in rows}) == len(rows)
    assert {row.group for row in rows} == set(GROUPS)
    assert not [row.name for row in rows if "theirs" in row.name]


def test_seconds_that_a_row_leaves_go_to_those_after_it() -> None:
    clock = Clock(100, rows=10)
    assert clock.next() == pytest.approx(20, abs=5)
    assert [clock.next() for _ in range(9)][-1] == pytest.approx(200, abs=20)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with one commit, which is this code as it lies there; with a cache of its own beside it."""
    root = tmp_path_factory.mktemp("against") / "repository"
    for part in (*CODE, "tests"):
        shutil.copytree(ROOT / part, root / part, ignore=shutil.ignore_patterns("__pycache__"))
    git(root, "init", "--quiet")
    commit(root)
    return root


def git(root: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *IDENTITY, *arguments], cwd=root, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def commit(root: Path) -> str:
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "As it is")
    return git(root, "rev-parse", "HEAD")


def against(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), **where(root), capture_output=True, text=True, timeout=RUN_SECONDS)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "tests.bench", "--quick", "--only", SMALLEST, "--against", *arguments]


def where(root: Path) -> dict[str, Any]:
    """In the copy: its packages are those of this interpreter, and its cache is beside it."""
    return {"cwd": root, "env": {**os.environ, "XDG_CACHE_HOME": str(root.parent / "cache")}}


def rows_in(file: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return rows


def changed(root: Path, file: str, change: Callable[[str], str]) -> None:
    before = (root / file).read_text()
    after = change(before)
    assert after != before
    (root / file).write_text(after)


@pytest.mark.full  # test_ctrl_c_ends_what_was_started starts both sides as well
def test_a_row_beside_the_same_code_has_a_ratio(repository: Path, tmp_path: Path) -> None:
    done = against(repository, "HEAD", "--rounds", "3", "--json", str(tmp_path / "found.json"))
    assert done.returncode == 0, done.stderr
    (row,) = rows_in(tmp_path / "found.json")
    assert (row["name"], row["verdict"], row["note"]) == (SMALLEST, "too few rounds", "")
    assert row["first"]["ratio"] > 0
    assert [len(row["first"][side]) for side in ("now", "ref")] == [3, 3]
    assert f"{SMALLEST}: {row['first']['ratio']:.3f}" in done.stderr
    assert SMALLEST in done.stdout


def test_a_ref_that_is_not_there_is_said_with_what_to_do(repository: Path) -> None:
    done = against(repository, "no-such-ref")
    assert done.returncode == USAGE
    assert "git fetch origin no-such-ref" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("ref", ["HEAD~1000", "", "-x", "--all", "HEAD:tests", "v9.9.9", "0" * 40, "a b"])
def test_nothing_but_a_commit_is_taken(repository: Path, ref: str) -> None:
    with pytest.raises(RefError, match="git fetch"):
        commit_of(ref, repository)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--against"], "expected one argument"),
        (["--against", "HEAD", "--rounds", "0"], "at least one round"),
        (["--against", "HEAD", "--only", "no such row"], "no such row"),
        (["--against", "HEAD", "--readme"], "--readme"),
    ],
)
def test_options_that_make_no_sense_are_refused(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        options(arguments)
    assert ended.value.code == USAGE
    assert said in capsys.readouterr().err


def test_a_copy_without_a_repository_says_that_it_needs_one(tmp_path: Path) -> None:
    with pytest.raises(RefError, match="clone the repository"):
        commit_of("HEAD", tmp_path)


def test_ctrl_c_ends_what_was_started(repository: Path, tmp_path: Path) -> None:
    how = where(repository)
    how["env"]["TMPDIR"] = str(tmp_path)
    with subprocess.Popen(command("HEAD", "--rounds", "1000"), **how, stderr=subprocess.PIPE, text=True) as process:
        try:
            wait_until(lambda: "broker_plane.embedded.supervisor" in arguments_below(tmp_path))
        finally:
            process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == INTERRUPTED, said
    assert "Traceback" not in said
    assert arguments_below(tmp_path) == []
    assert list(tmp_path.iterdir()) == []


def arguments_below(directory: Path) -> list[str]:
    """The arguments of all processes that have a path below `directory` in them, or in their environment."""
    found: list[str] = []
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            arguments = process.cmdline()
            if f"{directory}/" in f"{arguments}{process.environ()}":
                found += arguments
    return found


def wait_until(holds: Callable[[], bool], seconds: float = 120) -> None:
    end = monotonic() + seconds
    while not holds():
        assert monotonic() < end
        sleep(0.05)


@pytest.fixture
def clone(repository: Path, tmp_path: Path) -> Path:
    """A repository that a test may change."""
    root = tmp_path / "clone"
    git(repository, "clone", "--quiet", str(repository), str(root))
    return root


SLOW = """

import time

_publish = Publisher.publish


async def _slow(self, *arguments):
    time.sleep(0.3)
    return await _publish(self, *arguments)


Publisher.publish = _slow
"""


@pytest.mark.full
def test_code_that_became_slower_is_found_twice_and_not_beside_itself(clone: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    changed(clone, "broker_plane/plane/bodies/publish.py", lambda text: text + SLOW)
    done = against(clone, "HEAD", "--rounds", "10", "--json", str(found))  # what is not committed counts, too
    (row,) = rows_in(found)
    assert (done.returncode, row["verdict"]) == (1, "slower"), done.stderr
    assert row["first"]["interval"][0] > 1.03
    assert row["second"]["interval"][0] > 1.03
    slow = commit(clone)
    changed(clone, "broker_plane/plane/bodies/publish.py", lambda text: text.removesuffix(SLOW))
    done = against(clone, slow, "--rounds", "10", "--json", str(found))
    (row,) = rows_in(found)
    assert (done.returncode, row["verdict"]) == (0, "not slower"), done.stderr
    assert row["first"]["ratio"] < 0.7


@pytest.mark.full
def test_a_version_that_the_present_bench_cannot_drive_is_driven_by_its_own(clone: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    for name in ("broker_plane/testing/bench.py", "tests/bench/our_driver.py", "tests/bench/noticing.py"):
        changed(clone, name, lambda text: re.sub(r"(?<!\.)\bnats_url\b", "address_of", text))
    other = commit(clone)
    git(clone, "reset", "--quiet", "--hard", "HEAD~1")
    done = against(clone, other, "--rounds", "2", "--json", str(found))
    (row,) = rows_in(found)
    assert done.returncode == 0, done.stderr
    assert "its own bench" in row["note"]
    assert row["first"]["rounds"] == 2


@pytest.mark.full
def test_a_version_that_nothing_can_drive_is_not_comparable(clone: Path, tmp_path: Path) -> None:
    found = tmp_path / "found.json"
    changed(clone, "broker_plane/testing/bench.py", lambda text: text + "\nraise ImportError('an older time')\n")
    other = commit(clone)
    git(clone, "reset", "--quiet", "--hard", "HEAD~1")
    done = against(clone, other, "--rounds", "2", "--json", str(found))
    (row,) = rows_in(found)
    assert (done.returncode, row["verdict"]) == (1, "not comparable"), done.stderr
    assert row["first"]["reason"].count("an older time") == 2
    assert "No row could be compared" in done.stderr
