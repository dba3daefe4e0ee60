"""The story of a fan-out: each consumer got what its grant shows, and the report says who, what and when."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from demos import crowd, fanout
from demos.consumers import Got, checksum
from demos.fanout_report import svg
from demos.traffic import Traffic

Start = Callable[..., subprocess.CompletedProcess[str]]
COUNT = 16


@pytest.fixture(scope="session")
def told(start: Start, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    picture = tmp_path_factory.mktemp("fanout") / "who.svg"
    done = start("demos.fanout", "--json", "--consumers", str(COUNT), "--output", str(picture))
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def test_each_got_what_its_own_grant_shows_half_of_them_over_nats_in_several_processes(told: dict[str, Any]) -> None:
    consumers = told["consumers"]
    assert told["verified"] and all(one["verified"] for one in consumers)
    assert [one["way"] for one in consumers].count("nats") == len(consumers) // 2 == COUNT // 2
    assert len({one["process"] for one in consumers}) > 1
    assert {one["shows"].split()[0] for one in consumers} == {"everything", "sensor,", "rows", "region"}
    for one in consumers:
        assert 0 <= one["start_ms"] < one["end_ms"] <= told["ms"]
        if one["shows"] == "everything":
            assert (one["rows"], one["bytes"]) == (told["body"]["rows"], told["body"]["bytes"])
        else:
            assert 0 < one["bytes"] < told["body"]["bytes"] / 2


def test_the_body_has_five_megabytes_and_the_broker_says_what_it_sent(told: dict[str, Any]) -> None:
    assert 4_500_000 < told["body"]["bytes"] < 5_500_000
    over_nats = sum(one["bytes"] for one in told["consumers"] if one["way"] == "nats")
    assert told["broker"]["sent_bytes"] > over_nats
    assert told["broker"]["http_bytes"] == told["delivered_bytes"] - over_nats
    assert told["broker"]["bridge_reads"] > 0


def test_the_picture_has_a_bar_for_each_consumer(told: dict[str, Any]) -> None:
    drawing = ElementTree.parse(told["picture"]).getroot()  # noqa: S314 - written a moment ago, by us
    rects = [rect for rect in drawing.iter("{http://www.w3.org/2000/svg}rect") if rect.get("fill-opacity")]
    assert len(rects) == COUNT
    assert Path(told["picture"]).suffix == ".svg"


@pytest.mark.full
def test_as_people_start_it_64_consumers_get_theirs_and_a_table_says_so(start: Start) -> None:
    done = start("broker_plane.cli.main", "demo", "fanout")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stdout.split())
    for words in ("64 narrowed grants", "nats-server sent", "Each got exactly what its grant shows", "Picture:"):
        assert words in said


def test_what_a_consumer_should_not_have_got_is_seen() -> None:
    rows = crowd.made_rows()
    task = next(task for task in crowd.tasks(COUNT) if task.shows.startswith("region"))
    expected = crowd.shown(task, rows)
    for got, verified in ((expected, True), (expected[1:], False), (rows, False)):
        arrived = Got(task.name, 0, 1.0, 2.0, len(got), checksum(got))
        assert fanout._row(task, arrived, rows, 0.5, 100).verified is verified
    failed = fanout._row(task, Got(task.name, 0, 1.0, 2.0, error="grant_used: no"), rows, 0.5, None)
    told = crowd.Fanned(5, len(rows), 1.0, [failed], Traffic(None, 0, 0, 0))
    assert not told.verified
    assert "FAILED" in svg(told)


@pytest.mark.parametrize("count", ["0", "-1", "1001"])
def test_a_number_of_consumers_that_is_none_is_a_usage_error(count: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fanout.main(["--consumers", count]) == 2
    assert "from 1 to 1000" in capsys.readouterr().err
