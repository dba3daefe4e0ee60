"""The stories of collaboration: each session ended as it must, and the picture shows its history."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from broker_plane.sessions.entries import Entry
from demos import collab
from demos.collab_cast import Told
from demos.collab_report import report, svg
from demos.collab_stage import Played
from demos.collab_stories import STORIES

Start = Callable[..., subprocess.CompletedProcess[str]]
SVG = "{http://www.w3.org/2000/svg}"
BY_DEFAULT = "harden"


def tell(start: Start, picture: Path, *options: str) -> dict[str, Any]:
    done = start("broker_plane.cli.main", "demo", "collab", "--json", "--output", str(picture), *options)
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def hardened(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return tell(start, tmp_path_factory.mktemp("collab") / "history.svg", "--story", BY_DEFAULT)


def test_two_agents_harden_a_file_and_the_session_closes_by_itself(hardened: dict[str, Any]) -> None:
    (story,) = hardened["stories"]
    assert hardened["verified"] and story["verified"] and story["problems"] == []
    assert {name.rpartition("-")[0] or name for name in story["participants"]} >= {"ada", "ben", "cy", "owner"}
    entries = story["entries"]
    assert (entries["operation"], entries["conflict"], entries["confirmed"], entries["closed"]) == (2, 1, 3, 1)
    assert story["revisions"] == sum(entries.values())
    assert len(story["sha256"]) == 64


def test_the_picture_has_a_lane_for_each_participant_and_a_mark_for_each_revision(hardened: dict[str, Any]) -> None:
    drawing = ElementTree.parse(hardened["picture"]).getroot()  # noqa: S314 - written a moment ago, by us
    texts = [text.get("class") for text in drawing.iter(f"{SVG}text")]
    (story,) = hardened["stories"]
    assert texts.count("lane") == len(story["participants"])
    for kind, count in story["entries"].items():
        assert texts.count(kind) == count, kind


@pytest.mark.full
def test_all_five_stories_end_as_they_must(start: Start, tmp_path: Path) -> None:
    told = tell(start, tmp_path / "history.svg")
    assert [story["story"] for story in told["stories"]] == [*STORIES]
    assert {story["story"]: story["problems"] for story in told["stories"]} == {name: [] for name in STORIES}
    review = next(story for story in told["stories"] if story["story"] == "review")
    assert review["through_page"]


@pytest.mark.full
def test_as_people_start_it_a_table_says_so(start: Start) -> None:
    done = start("broker_plane.cli.main", "demo", "collab", "--no-browser")
    assert done.returncode == 0, done.stdout + done.stderr
    said = " ".join(done.stdout.split())
    for words in (*STORIES, "Every session ended as it must", "Picture:"):
        assert words in said


def test_the_table_cuts_no_word_where_lines_are_short(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    told = Told([], None, {"status": "closed"})
    played = [Played(story, told, [], story.name == "review", 12_345.0) for story in STORIES.values()]
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("COLUMNS", "80")
        report(played, json=False, output=str(tmp_path / "history.svg"))
    said = capsys.readouterr().out.split()
    assert {*STORIES, "table,", "patch", "conflicts", "12,345", "page"} <= {*said}


def test_a_session_that_ended_otherwise_is_seen() -> None:
    entry = Entry(revision=1, at=1.0, participant="owner", role="owner", kind="created", content={"value": "x < y"})
    told = Told([entry], None, {"status": "open", "notes": [{"type": "question"}]})
    for story in STORIES.values():
        empty = replace(told, value={"json": {}, "table": []}.get(story.kind, ""))
        assert story.check(empty), story.name
        ElementTree.fromstring(svg([Played(story, empty, ["<no>"], False, 1.0)]))  # noqa: S314 - made by us


def test_a_story_that_does_not_exist_is_a_usage_error(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        collab.main(["--story", "none"])
    assert ended.value.code == 2
    assert "harden" in capsys.readouterr().err
