"""The table of aims: which tests take part, and what it says of each."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path
from time import sleep
from typing import Any

import pytest

from tests.aims.shards import ROOT, Collected, shards
from tests.aims.table import AIMS, MET, NOT_MEASURED, NOT_MET, OTHERS, lines_of, topic_of

RUN_SECONDS = 300
USAGE, INTERRUPTED = 2, 130
CONFTEST = """
import pytest
from tests.figures import record

@pytest.fixture
def figure():
    return record

@pytest.fixture
def bystander(figure):
    return lambda what: figure(f"{what}: worst /healthz", "12 ms", aim="250 ms", met=True)
"""
TESTS = """
import pytest

@pytest.mark.parametrize("size", [2, pytest.param(2_000, marks=pytest.mark.full)])
def test_bodies(figure, size):
    figure("bombs", f"{size} refused", aim="all", met=size < 2_000)

def test_through_another_fixture(bystander):
    bystander("hostile requests")

def test_that_is_no_aim():
    raise AssertionError("it is not run")

def test_that_fails(figure):
    figure("disk full", "507 in 1 s", aim="2 s", met=True)
    assert not "readable"

def test_that_is_skipped(figure):
    pytest.skip("no namespaces here")

def test_that_says_nothing(figure):
    pass

@pytest.mark.full
def test_large(figure):
    figure("three nodes: all die", "0 lost [of 9]", aim="0 lost", met=True)
"""


@pytest.fixture
def some_tests(tmp_path: Path) -> Path:
    directory = tmp_path / "some"
    directory.mkdir()
    (directory / "conftest.py").write_text(CONFTEST)
    (directory / "test_some.py").write_text(TESTS)
    return directory


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "tests.aims", *map(str, arguments)]


def aims(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command(*arguments), cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS)


def table_in(file: Path) -> dict[str, tuple[str, str]]:
    """Measured and met, by row; a test without a figure by its function."""
    rows: list[dict[str, Any]] = json.loads(file.read_text())["rows"]
    return {row["row"].rpartition("::")[2]: (row["measured"], row["met"]) for row in rows}


def test_smoke_sizes_make_a_table_and_a_failed_test_makes_it_1(some_tests: Path, tmp_path: Path) -> None:
    file = tmp_path / "aims.json"
    done = aims(some_tests, "--json", file)
    assert done.returncode == 1, done.stderr
    failed = "AssertionError: assert not 'readable'"
    assert table_in(file) == {
        "bombs": ("2 refused", MET),
        "hostile requests: worst /healthz": ("12 ms", MET),
        "disk full": ("507 in 1 s", f"{NOT_MET}: the test failed, {failed}"),
        "test_that_is_skipped": ("skipped: Skipped: no namespaces here", NOT_MEASURED),
        "test_that_says_nothing": ("passed", NOT_MEASURED),
    }
    assert "NOT met" in done.stdout
    assert "1 of 1" in done.stderr
    assert "2 tests at full size were not run" in done.stderr


def test_full_sizes_take_the_place_of_smoke_sizes_and_an_unmet_aim_fails_nothing(
    some_tests: Path, tmp_path: Path
) -> None:
    file = tmp_path / "aims.json"
    done = aims(some_tests, "--full", "--only", "bodies or large", "--json", file)
    assert done.returncode == 0, done.stderr
    assert table_in(file) == {"bombs": ("2000 refused", NOT_MET), "three nodes: all die": ("0 lost [of 9]", MET)}
    assert "2 of 2" in done.stderr


def test_a_test_file_that_cannot_be_imported_is_said(some_tests: Path) -> None:
    (some_tests / "test_broken.py").write_text("import no_such_module_anywhere\n")
    done = aims(some_tests)
    assert done.returncode == USAGE
    assert "no_such_module_anywhere" in done.stderr


@pytest.mark.full
def test_what_is_interrupted_tidies_up(some_tests: Path, tmp_path: Path) -> None:
    mark = tmp_path / "tidied"
    (some_tests / "test_long.py").write_text(f"""
import pathlib, threading

def test_long(figure):
    print("it runs", flush=True)
    try:
        pathlib.Path({str(mark)!r}).write_text("begun")
        threading.Event().wait(600)
    finally:
        pathlib.Path({str(mark)!r}).write_text("tidied")
""")
    asked = command(some_tests, "--only", "test_long")
    with subprocess.Popen(asked, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as process:
        while not mark.exists():
            assert process.poll() is None
            sleep(0.05)
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=RUN_SECONDS)
    assert (process.returncode, mark.read_text()) == (INTERRUPTED, "tidied")
    assert "Traceback" not in said


def test_small_tests_share_a_process_by_file_and_full_ones_have_their_own() -> None:
    small = [Collected("a.py::one[2]", False), Collected("a.py::two", False), Collected("b.py::three", False)]
    large = [Collected("a.py::one[2000]", True), Collected("a.py::one[3000]", True), Collected("c.py::four", True)]
    assert shards([*small, *large], full=False) == [["a.py::one[2]", "a.py::two"], ["b.py::three"]]
    alone = [["a.py::one[2000]"], ["a.py::one[3000]"], ["c.py::four"]]
    assert shards([*small, *large], full=True) == [["a.py::two"], ["b.py::three"], *alone]


@pytest.mark.parametrize(
    ("row", "topic"),
    [
        ("bombs: 40 hostile bodies in 13 ways each", "bombs"),
        ("hostile answers to a consumer", "bombs"),
        ("disk full", "disk full"),
        ("three nodes: the named node dies", "three nodes"),
        ("Fan-out: 500 readers of 20 MB", "fan-out"),
        ("damaged grant state", "damage"),
        ("clock skew", "clock"),
        ("adversarial model, shard 3", "adversarial model"),
        ("200 downloads through a cutting relay that buffers", "cut downloads"),
        ("32 internal spellings", "internal spellings"),
        ("40 hostile requests: worst /readyz", "health under attack"),
        ("something else", OTHERS),
    ],
)
def test_a_figure_is_one_for_the_aim_whose_words_its_row_has(row: str, topic: str) -> None:
    assert topic_of(row) == topic


def test_an_aim_without_a_figure_is_said_when_all_tests_were_asked_for() -> None:
    figures = [{"row": "clock skew", "measured": "0 lost", "aim": "0 lost", "met": True, "test": "t"}]
    ended = {"t": ("passed", "")}
    assert [line.met for line in lines_of(figures, ended, whole=False)] == [MET]
    lines = lines_of(figures, ended, whole=True)
    assert [line.topic for line in lines] == list(AIMS)
    assert [line.topic for line in lines if line.met == NOT_MEASURED] == [topic for topic in AIMS if topic != "clock"]
