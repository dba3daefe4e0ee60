"""Each story, told to its end over stdio and a real broker: what it reports is what happened."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from demos import account, db

Start = Callable[..., subprocess.CompletedProcess[str]]
ALL = 336_776
WAIT_SECONDS = 60


def told(done: subprocess.CompletedProcess[str]) -> dict[str, Any]:
    assert done.returncode == 0, done.stderr
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def drawn(report: dict[str, Any]) -> bool:
    return Path(report["chart"]).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")


@pytest.fixture(scope="session")
def alerts(start: Start) -> dict[str, Any]:
    return told(start("demos.weather", "--json"))


@pytest.fixture(scope="session")
def some_flights(start: Start) -> dict[str, Any]:
    return told(start("demos.db", "--rows", "20000", "--json"))


@pytest.fixture(scope="session")
def all_flights(start: Start) -> dict[str, Any]:
    return told(start("demos.db", "--rows", "all", "--json"))


@pytest.mark.parametrize("story", ["alerts", "some_flights"])
def test_a_report_has_the_members_that_programs_read(story: str, request: pytest.FixtureRequest) -> None:
    report = request.getfixturevalue(story)
    members = "demo mode rows_total rows_arrived digest_verified bytes_body tokens steps chart runs"
    assert set(members.split()) <= report.keys()
    assert {"with", "without", "saved_percent", "counted"} <= report["tokens"].keys()
    assert all(step["name"] and step["ms"] >= 0 for step in report["steps"])


def test_eight_alerts_arrive_in_both_modes_as_the_source_has_them(alerts: dict[str, Any]) -> None:
    assert [run["mode"] for run in alerts["runs"]] == ["async", "sync"]
    for run in alerts["runs"]:
        assert (run["rows_total"], run["rows_arrived"], run["digest_verified"]) == (8, 8, True)
        assert drawn(run)


def test_the_bodies_of_alerts_go_over_the_broker_only_in_async_mode(alerts: dict[str, Any]) -> None:
    over_broker, through_agent = alerts["runs"]
    assert over_broker["bytes_body"] > 5_000
    assert through_agent["bytes_body"] == 0


def test_two_of_29_columns_save_most_of_the_tokens(alerts: dict[str, Any]) -> None:
    tokens = alerts["tokens"]
    assert tokens["with"] * 8 < tokens["without"]
    assert tokens["saved_percent"] > 85
    assert tokens["to_model"] == tokens["with"]


def test_sync_mode_saves_tokens_only_where_the_host_holds_the_body_back(alerts: dict[str, Any]) -> None:
    tokens = alerts["runs"][1]["tokens"]
    assert tokens["saved_percent"] < 10
    assert tokens["to_model"] * 8 < tokens["with"]


def test_the_flights_arrive_and_the_agent_saw_hardly_any_of_them(some_flights: dict[str, Any]) -> None:
    assert (some_flights["rows_total"], some_flights["rows_arrived"]) == (20_000, 20_000)
    assert some_flights["digest_verified"] is True
    assert some_flights["tokens"]["saved_percent"] > 99
    assert some_flights["bytes_body"] > 100_000 and drawn(some_flights)


@pytest.mark.full
def test_all_336_776_flights_arrive(all_flights: dict[str, Any]) -> None:
    assert all_flights["rows_total"] == all_flights["rows_arrived"] == ALL
    assert all_flights["digest_verified"] is True
    assert all_flights["tokens"]["saved_percent"] > 99.9 and drawn(all_flights)


@pytest.mark.full
def test_as_people_start_it_the_story_is_told_for_50_000_rows_and_for_all(start: Start) -> None:
    report = told(start("demos.db", "--json"))
    assert [run["rows_arrived"] for run in report["runs"]] == [50_000, ALL]
    assert report["rows_total"] == ALL
    assert all(run["digest_verified"] for run in report["runs"])


def test_a_person_reads_tables_that_name_the_chart_and_how_tokens_are_counted(
    start: Start, own_broker: dict[str, str]
) -> None:
    chart = Path(own_broker["TMPDIR"]) / "alerts.png"
    done = start("demos.weather", "--mode", "async", "--output", str(chart))
    assert done.returncode == 0, done.stderr
    for words in ("get_alerts on weather", "without the plane", "4 UTF-8 bytes", "8 of 8 rows arrived", "alerts.png"):
        assert words in " ".join(done.stdout.split())
    assert chart.read_bytes().startswith(b"\x89PNG")


def test_a_refusal_of_a_tool_is_one_line_and_the_exit_says_so(start: Start) -> None:
    done = start("demos.weather", "--mode", "async", "--output", "/nowhere/alerts.png", "--json")
    assert done.returncode == 1 and done.stdout == ""
    assert "lies outside" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize("rows", ["0", "-5", "336777", "many"])
def test_a_number_of_rows_that_is_none_is_a_usage_error(rows: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert db.run(rows=rows) == 2
    assert "or all" in capsys.readouterr().err


def test_a_source_that_differs_in_one_cell_is_seen(
    own_broker: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, value in own_broker.items():
        monkeypatch.setenv(name, value)
    true = db.flights

    def altered() -> Iterator[dict[str, Any]]:
        for number, row in enumerate(true()):
            yield row | {"distance": row["distance"] + 1} if number == 500 else row

    monkeypatch.setattr(db, "flights", altered)
    assert db.run(json=True, rows=1_000) == 1
    report = json.loads(capsys.readouterr().out)
    assert (report["rows_arrived"], report["digest_verified"]) == (1_000, False)


def test_ctrl_c_ends_the_servers_too(own_broker: dict[str, str]) -> None:
    command = [sys.executable, "-m", "demos.db", "--rows", "all", "--json"]
    with subprocess.Popen(command, env=own_broker, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as demo:
        cast = _cast(psutil.Process(demo.pid))
        os.kill(demo.pid, signal.SIGINT)
        _, said = demo.communicate(timeout=WAIT_SECONDS)
    assert demo.returncode == 130, said
    assert psutil.wait_procs(cast, timeout=WAIT_SECONDS)[1] == []


def _cast(demo: psutil.Process) -> list[psutil.Process]:
    """Both servers of the story, as soon as they run."""
    end = time.monotonic() + WAIT_SECONDS
    while time.monotonic() < end:
        found = [child for child in demo.children() if any(word.startswith("servers.") for word in child.cmdline())]
        if len(found) == 2:
            return found
        time.sleep(0.01)
    raise AssertionError("the servers did not start")


def test_plain_json_is_counted_without_being_made() -> None:
    rows: list[dict[str, Any]] = [{"a": 1, "b": None}, {"a": "ü", "b": [2]}]
    plain = json.dumps(rows, separators=(",", ":"), ensure_ascii=False).encode()
    assert account.read_source(iter(rows)).plain_bytes == len(plain)
