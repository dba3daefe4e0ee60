"""The benchmark runs and compares what it says. No figure is asserted: the machine decides about those."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.bench import readme, rows
from tests.bench.__main__ import UNREACHABLE
from tests.bench.aims import met_or_not
from tests.bench.cases import (
    CALLS_AT_ONCE,
    CARRIED,
    QUICK_ROUNDS,
    TOGETHER,
    calls_name,
    cases,
    flat_out_name,
    learned_name,
    long_calls_name,
    paced_name,
)
from tests.bench.conductor import RATE, Measured
from tests.bench.lines import ROOT
from tests.figures import Figure
from tests.tools import need_module

RUN_SECONDS = 600
WAYS = ("NATS", "SSE", "webhook")
MEASURES = ((flat_out_name, RATE), (paced_name, "p50"), (paced_name, "p99"))


def run_bench(directory: Path, *options: str) -> dict[str, Any]:
    found = directory / "bench.json"
    command = [sys.executable, "-m", "tests.bench", "--quick", "--json", str(found), *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS)
    if done.returncode == UNREACHABLE:
        pytest.skip(f"The peer cannot be fetched: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stderr
    run: dict[str, Any] = json.loads(found.read_text())
    return run


def test_a_quick_run_yields_the_whole_way_of_both_sides_with_ratios(tmp_path: Path) -> None:
    run = run_bench(tmp_path, "--only", "a", "--rounds", "1")
    assert [row["name"] for row in run["rows"]] == [
        "whole way in one process, 8x29",
        "whole way in one process, 1,000x29",
        "whole way over stdio, 8x29",
        "whole way over stdio, 1,000x29",
        "whole way in one process, 1,000x29, ours as tables",
        "whole way in one process, 1,000x29, ours as tables, the URL alone handed on",
    ]
    assert all(row["ratio"] > 0 for row in run["rows"])
    assert all(len(row[side]["samples"]) == 1 for row in run["rows"] for side in ("ours", "theirs"))
    assert run["versions"]["theirs"]["mcp-sd"] == "0.1.2"
    assert run["machine"]["cores"] >= 1


def test_a_quick_run_asks_each_question_three_times() -> None:
    assert {case.rounds for case in cases("a", quick=True, rounds=None)} == {QUICK_ROUNDS} == {3}


def test_a_checksum_sees_a_changed_value_and_a_changed_order_but_not_the_row_ids() -> None:
    table = rows.table(8)
    numbered = [{"_row_id": number, **row} for number, row in enumerate(table)]
    assert rows.checksum(numbered) == rows.checksum(table)
    assert rows.checksum(table[::-1]) != rows.checksum(table)
    table[3]["note_7"] += "!"
    assert rows.checksum(table) != rows.checksum(numbered)


def test_a_table_is_the_same_at_each_call_and_in_dicts_of_its_own() -> None:
    first, second = rows.table(8), rows.table(8)
    first[0]["_row_id"] = 0
    assert second == rows.table(8)
    assert all(len(row) == 29 for row in second)


@pytest.mark.full
def test_a_fan_out_is_measured_beside_nginx_over_both_ways(tmp_path: Path) -> None:
    run = run_bench(tmp_path, "--only", "e", "--rounds", "1")
    assert [row["name"] for row in run["rows"]] == [
        "fan-out of 16 x 5 MB, ours over HTTP, theirs is nginx",
        "fan-out of 16 x 5 MB, ours over NATS, theirs is nginx",
        "fan-out of 16 x 5 MB, ours over NATS, theirs is a core broadcast",
    ]
    assert all(row["ratio"] > 0 for row in run["rows"])
    assert run["versions"]["theirs"]["nginx"]


@pytest.mark.full
def test_notices_are_measured_beside_core_nats_over_every_way(tmp_path: Path) -> None:
    run = run_bench(tmp_path, "--only", "f", "--rounds", "1")
    names = [f"20 notices, ours over {way}, theirs is core NATS: {p}" for way in WAYS for p in ("p50", "p99")]
    assert [row["name"] for row in run["rows"]] == names
    assert all(row["unit"] == "ms" and row["ours"]["samples"] and row["theirs"]["samples"] for row in run["rows"])
    assert run["versions"]["theirs"]["nats-py"]


@pytest.mark.full
def test_edits_are_measured_beside_a_y_websocket_server(tmp_path: Path, figure: Figure) -> None:
    run = run_bench(tmp_path, "--only", "i", "--rounds", "1")
    rows = [f"{name(count)}: {measure}" for count in TOGETHER for name, measure in MEASURES]
    assert sorted(row["name"] for row in run["rows"] if ": " in row["name"]) == sorted(rows)
    assert all(row["ratio"] > 0 for row in run["rows"])
    assert run["versions"]["theirs"]["@y/websocket-server"] == "0.1.1"
    measured = [
        Measured(row["group"], row["name"], row["unit"], row["ours"]["samples"], row["theirs"]["samples"])
        for row in run["rows"]
    ]
    found = list(met_or_not(measured))
    assert len(found) == len(TOGETHER) + 1
    for aim in found:
        figure(aim.row, aim.measured, aim=aim.aim, met=aim.met)


@pytest.mark.full
def test_cached_code_is_measured_beside_the_handler_of_the_same_bytes(tmp_path: Path, figure: Figure) -> None:
    need_module("pydantic_monty")
    run = run_bench(tmp_path, "--only", "j")
    (row,) = run["rows"]
    assert row["name"] == learned_name() and all(len(row[side]["samples"]) == 3 for side in ("ours", "theirs"))
    measured = Measured("j", learned_name(), "ms", row["ours"]["samples"], row["theirs"]["samples"])
    (aim,) = met_or_not([measured])
    figure(aim.row, aim.measured, aim=aim.aim, met=aim.met)


@pytest.mark.full
def test_calls_over_carriers_are_measured_beside_streamable_http(tmp_path: Path, figure: Figure) -> None:
    run = run_bench(tmp_path, "--only", "k", "--rounds", "3")
    names = [
        f"{calls_name(carrier, at_once)}: {p}"
        for carrier in CARRIED
        for at_once in CALLS_AT_ONCE
        for p in ("p50", "p99")
    ]
    assert {row["name"] for row in run["rows"]} >= set(names)
    assert all(row["ratio"] > 0 for row in run["rows"])
    measured = [
        Measured("k", row["name"], row["unit"], row["ours"]["samples"], row["theirs"]["samples"]) for row in run["rows"]
    ]
    found = list(met_or_not(measured))
    assert len(found) == len(names) + 2
    for aim in found:
        figure(aim.row, aim.measured, aim=aim.aim, met=aim.met)


def test_of_a_rate_more_is_better_and_an_aim_says_whether_it_was_met() -> None:
    rate = Measured("i", f"{flat_out_name(8)}: {RATE}", RATE, ours=[600.0], theirs=[1_000.0])
    slow = Measured("i", f"{flat_out_name(2)}: {RATE}", RATE, ours=[400.0], theirs=[1_000.0])
    late = Measured("i", f"{paced_name(8)}: p99", "ms", ours=[60.0], theirs=[5.0])
    assert rate.ratio == pytest.approx(0.6)
    code = Measured("j", learned_name(), "ms", ours=[37.5, 40.0, 42.0], theirs=[11.0, 10.0, 12.0])
    call = Measured("k", f"{calls_name('webhook', 64)}: p99", "ms", ours=[25.0], theirs=[10.0])
    memory = Measured("k", f"{long_calls_name('nats')}: RSS", "MiB", ours=[150.0], theirs=[90.0])
    assert [(aim.measured, aim.met) for aim in met_or_not([rate, slow, late, code, call, memory])] == [
        ("0.40", False),
        ("0.60", True),
        ("60.0 ms", False),
        ("29.0 ms", True),
        ("150 MiB", False),
        ("2.50", True),
    ]


@pytest.mark.full
def test_starts_are_measured_of_a_server_beside_a_bare_one_and_of_up() -> None:
    command = [sys.executable, "-m", "tests.bench.starting", "--rounds", "1", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=RUN_SECONDS, check=True)
    found = json.loads(done.stdout)
    assert [len(samples) for samples in found.values()] == [1, 1, 1, 1, 1]
    assert all(ms > 0 for samples in found.values() for ms, _ in samples)


def test_the_readme_s_table_takes_what_was_measured_and_keeps_the_rest(tmp_path: Path) -> None:
    path = tmp_path / "README.md"
    path.write_text(f"before\n{readme.BEGIN}{readme.END}after\n")

    def measured(headline: str, ours: float) -> Measured:
        return Measured("a", headline, "ms", ours=[ours], theirs=[30.0], peer="peer", headline=headline)

    order = ["first", "second"]
    readme.write([measured("second", 10.0), measured("first", 60.0)], order, path)
    readme.write([measured("second", 15.0), measured("gone", 1.0)], order, path)
    rows = ["| first | 60 | peer 30 | 0.50 |", "| second | 15.0 | peer 30 | 2.00 |"]
    lines = [readme.HEAD, readme.RULE, *rows]
    assert path.read_text() == "\n".join(["before", readme.BEGIN.strip(), *lines, readme.END.strip(), "after", ""])
