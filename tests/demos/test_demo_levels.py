"""The story of learned protocols: each run at its level, and a report that says that the provider is scripted."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from demos import levels
from demos.levels_report import report, svg
from demos.levels_runs import PHASES, Run, Told, problems_in
from demos.levels_stage import SCRIPTED_CALLS

Start = Callable[..., subprocess.CompletedProcess[str]]
SVG = "{http://www.w3.org/2000/svg}"
LEVELS = {"first": "2", "again": "1.5", "changed": "2", "healed": "1.5"}
ROWS = 500


@pytest.fixture(scope="module")
def played(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    picture = tmp_path_factory.mktemp("levels") / "runs.svg"
    done = start("broker_plane.cli.main", "demo", "levels", "--json", "--rows", str(ROWS), "--output", str(picture))
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_each_protocol_is_learned_cached_and_learned_anew(played: dict[str, Any]) -> None:
    assert played["verified"] and played["scripted"] and played["problems"] == []
    assert [(run["phase"], run["protocol"]) for run in played["runs"]] == [
        (phase, protocol) for phase in PHASES for protocol in SCRIPTED_CALLS
    ]
    for run in played["runs"]:
        calls = {"first": SCRIPTED_CALLS[run["protocol"]], "changed": 1}.get(run["phase"], 0)
        assert (run["level"], run["provider_calls"]) == (LEVELS[run["phase"]], calls)
        assert run["sha256"] == played["sha256"]
        assert bool(run["tokens"]) == bool(calls)
        assert run["ms"] > 0 and run["bytes"] > ROWS * 10 and run["rung"]


def test_the_picture_has_a_bar_for_each_run_and_a_circle_for_each_call(played: dict[str, Any]) -> None:
    drawing = ElementTree.parse(played["picture"]).getroot()  # noqa: S314 - written a moment ago, by us
    assert len([rect for rect in drawing.iter(f"{SVG}rect") if rect.get("class") == "run"]) == len(played["runs"])
    circles = "".join(span.text or "" for span in drawing.iter(f"{SVG}tspan"))
    assert len(circles) == sum(run["provider_calls"] for run in played["runs"]) == 8


@pytest.mark.full
def test_as_people_start_it_a_table_says_so_and_no_code_is_left_in_the_cache(start: Start) -> None:
    done = start("broker_plane.cli.main", "demo", "levels")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    for words in (*SCRIPTED_CALLS, "The provider is scripted", "Every file has the SHA-256", "Picture:"):
        assert words in said
    left = start("broker_plane.cli.main", "levels", "ls", "--json")
    assert (left.returncode, left.stdout.strip()) == (0, "[]")


def as_it_must_be() -> list[Run]:
    return [
        Run(phase, name, LEVELS[phase], {"first": calls, "changed": 1}.get(phase, 0), 0, 12_345.0, 99, "d", "monty")
        for phase in PHASES
        for name, calls in SCRIPTED_CALLS.items()
    ]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"sha256": "e"}, "does not have the SHA-256"),
        ({"level": "1"}, "ran at Level 1"),
        ({"provider_calls": 5}, "called"),
        ({"error": "levels: no code"}, "levels: no code"),
    ],
)
@pytest.mark.parametrize("place", [0, 4, 8, 11])
def test_a_run_that_ended_otherwise_is_seen(place: int, change: dict[str, Any], said: str) -> None:
    runs = as_it_must_be()
    assert problems_in(runs, "d", SCRIPTED_CALLS) == []
    runs[place] = replace(runs[place], **change)
    (problem, *_) = problems_in(runs, "d", SCRIPTED_CALLS)
    assert said in problem and runs[place].protocol in problem
    ElementTree.fromstring(svg(Told("scripted", 9, "d", runs, ["<no>"])))  # noqa: S314 - made by us


def test_a_model_may_take_any_number_of_calls_and_serve_both_versions_at_once() -> None:
    runs = [replace(run, provider_calls=3 if run.level == "2" else 0) for run in as_it_must_be()]
    runs[6:9] = [replace(run, level="1.5", provider_calls=0) for run in runs[6:9]]
    assert problems_in(runs, "d", {}) == []


def test_the_table_cuts_no_word_where_lines_are_short(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COLUMNS", "80")
        report(Told("scripted", 2_000, "d", as_it_must_be()), json=False, output=str(tmp_path / "runs.svg"))
    said = capsys.readouterr().out.split()
    assert {*SCRIPTED_CALLS, *PHASES, "12,345", "monty"} <= {*said}


def test_a_number_of_rows_that_is_none_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert levels.main(["--rows", "0"]) == 2
    assert "from 1 to" in capsys.readouterr().err
