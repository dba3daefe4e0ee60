"""The analysis that outlives its agent, its server and nats-server, as people start it."""

from __future__ import annotations

import json
import subprocess
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from demos.longrun_report import as_json, svg
from demos.longrun_stage import Kill, Life, LongRun, Step

Start = Callable[..., subprocess.CompletedProcess[str]]


def kinds_in(picture: str) -> Counter[str | None]:
    drawing = ElementTree.fromstring(picture)  # noqa: S314 - written a moment ago, by us
    return Counter(element.get("class") for element in drawing.iter() if element.get("class"))


@pytest.fixture(scope="module")
def played(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    picture = tmp_path_factory.mktemp("longrun") / "timeline.svg"
    done = start("broker_plane.cli.main", "demo", "longrun", "--json", "--output", str(picture))
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.mark.full
def test_the_result_is_that_of_a_run_without_interruptions(played: dict[str, Any]) -> None:
    assert played["verified"] and played["problems"] == []
    assert [kill["who"] for kill in played["kills"]] == ["agent", "server", "nats-server"]
    assert len(played["result"]) == 10 and played["result"][0]["flights"] > 50_000


@pytest.mark.full
def test_only_the_step_that_its_process_was_killed_in_began_twice(played: dict[str, Any]) -> None:
    begun = Counter(step["number"] for step in played["steps"])
    server_killed_in = played["kills"][1]["step"]
    assert begun == {number: 1 + (number == server_killed_in) for number in range(1, 11)}
    assert len({step["pid"] for step in played["steps"]}) == 2


@pytest.mark.full
def test_the_timeline_of_a_run_has_every_life_kill_and_step(played: dict[str, Any]) -> None:
    assert kinds_in(Path(played["picture"]).read_text()) == {"life": 6, "kill": 3, "step": 10, "interrupted": 1}


def test_help_names_the_command_and_has_no_line_for_a_checkout(start: Start) -> None:
    said = start("broker_plane.cli.main", "demo", "longrun", "--help").stdout
    assert said.startswith("usage: broker-plane demo longrun ") and "python -m" not in said


@pytest.mark.full
def test_as_people_start_it_a_table_says_so(start: Start) -> None:
    done = start("broker_plane.cli.main", "demo", "longrun", "--no-kills")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    assert "One result, as without interruptions; 0 of 10 steps began twice" in said


def a_run() -> LongRun:
    """Three steps; the server was killed in the second one."""
    rows = [{"airline": "UA"}, {"airline": "B6"}, {"airline": "EV"}]
    none: Any = None
    play = LongRun(none, none, none, Path("journal"), rows, began=100.0, task_id="t", milliseconds=10_000.0)
    play.lives = [Life("server", 100.0, 104.0, killed=True, pid=1), Life("server", 105.0, pid=2), Life("agent", 100.0)]
    play.kills = [Kill(104.0, "server", 2)]
    play.steps = [Step(1, "UA", 101.0, 1, 102.0), Step(2, "B6", 103.0, 1), Step(2, "B6", 106.0, 2, 107.0)]
    play.steps.append(Step(3, "EV", 107.0, 2, 108.0))
    play.said = [{"task": "t"}, {"result": {"structuredContent": {"result": rows}}}]
    return play


def test_the_picture_has_every_life_kill_and_step() -> None:
    assert kinds_in(svg(a_run())) == {"life": 3, "kill": 1, "step": 3, "interrupted": 1}
    assert as_json(a_run())["verified"]


def test_the_picture_says_what_its_colours_mean() -> None:
    picture = svg(a_run())
    for text in ("a process", "was killed by kill -9", "a step, by the server process that completed it"):
        assert f">{text}</text>" in picture


def test_a_run_that_differs_is_not_verified() -> None:
    other, twice, again = a_run(), a_run(), a_run()
    other.expected = [{"airline": "AA"}, *other.expected[1:]]
    twice.said.append(twice.said[-1])
    again.steps.insert(0, Step(1, "UA", 100.5, 1))
    assert [len(play.problems) for play in (a_run(), other, twice, again)] == [0, 1, 1, 1]
