"""Generated code that attacks: what each rung lets through, for root and for another user.

docs/sandboxes.md names the attacks that a rung does not stop; here it is compared with what they reach.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from broker_plane.sandbox.ladder import default_rungs
from tests.sandbox.attacks.battery import ATTACKS, CONTROL, IN_CI
from tests.sandbox.attacks.users import ROOT, Who, battery, whos

Table = dict[tuple[str, Who], dict[str, dict[str, Any]]]
"""(rung, who) → attack → how it ended."""

RUNGS = [str(rung.name) for rung in default_rungs()]
SIGNS = {"stopped": "stopped", "not writable": "-", "succeeded": "REACHED"}
_ROW = re.compile(r"^\| (?P<attack>[^|]+?) \| (?P<rungs>[a-z, ]+) \|")


def documented() -> dict[str, set[str]]:
    """The attacks that the docs name as not stopped, by rung: the table below the heading."""
    page = (ROOT / "docs" / "sandboxes.md").read_text()
    section = page.split("## What gets through", 1)[1].split("\n## ", 1)[0]
    found: dict[str, set[str]] = {rung: set() for rung in RUNGS}
    for line in section.splitlines():
        if (row := _ROW.match(line)) and set(rungs := row["rungs"].split(", ")) <= set(RUNGS):
            for rung in rungs:
                found[rung].add(row["attack"])
    return found


def run_all(*arguments: str) -> Table:
    """The table of a battery; rungs that this machine lacks are left out, and fail under CI."""
    with ThreadPoolExecutor() as pool:
        batteries = dict(zip(whos(), pool.map(lambda who: battery(who, *arguments), whos()), strict=True))
    table: Table = {}
    for who, lines in batteries.items():
        for line in lines:
            if why := line.get("unavailable"):
                print(f"{line['rung']}: {why}")
                assert not os.environ.get("CI"), why
            else:
                table.setdefault((line["rung"], who), {})[line["name"]] = line
    return table


def show(table: Table) -> None:
    """Print the table: a row an attack, a column a rung and user."""
    me = "root" if os.geteuid() == 0 else "user"
    heads = [f"{rung} {me if who == 'self' else 'user'}" for rung, who in table]
    print(f"{'attack':50} {'kind':12} " + " ".join(f"{head:14}" for head in heads))
    for attack in [CONTROL, *ATTACKS]:
        cells = [SIGNS[found[attack.name]["outcome"]] if attack.name in found else "" for found in table.values()]
        if any(cells):
            print(f"{attack.name:50} {attack.kind:12} " + " ".join(f"{cell:14}" for cell in cells))
    for run, found in table.items():
        ended = [line["outcome"] for line in found.values() if line["name"] != CONTROL.name]
        counts = ", ".join(f"{ended.count(outcome)} {outcome}" for outcome in SIGNS)
        print(f"{run[0]} as {run[1]}: {len(ended)} attacks, {counts}")


def reached(found: dict[str, dict[str, Any]]) -> dict[str, list[str]]:
    """The attacks that succeeded, with the evidence. The control must have: otherwise nothing ran at all."""
    assert found[CONTROL.name]["outcome"] == "succeeded", found[CONTROL.name]
    return {
        name: line["evidence"]
        for name, line in found.items()
        if line["outcome"] == "succeeded" and name != CONTROL.name
    }


def test_there_are_attacks_of_every_class_and_their_names_are_different() -> None:
    assert len({attack.name for attack in ATTACKS}) == len(ATTACKS) >= 40
    assert set(IN_CI) == {attack.kind for attack in ATTACKS}
    assert set(IN_CI.values()) <= {attack.name for attack in ATTACKS}


def test_one_attack_of_each_class_is_stopped_by_every_rung() -> None:
    table = run_all(*RUNGS)
    show(table)
    for (rung, who), found in table.items():
        assert set(reached(found)) <= documented()[rung], (rung, who, reached(found))


@pytest.mark.full
@pytest.mark.parametrize("rung", RUNGS)
def test_every_attack_is_stopped_but_those_that_the_docs_name(rung: str) -> None:
    table = run_all(rung, "--all")
    show(table)
    for run, found in table.items():
        assert set(reached(found)) == documented()[rung], (run, reached(found))


@pytest.mark.full
def test_the_attacks_succeed_where_nothing_confines_them() -> None:
    """Otherwise the table above would show nothing. Time, output and the host's own limits hold there as well."""
    table = run_all("none", "--all")
    show(table)
    for found in table.values():
        kinds = {line["kind"] for name, line in found.items() if name in reached(found)}
        assert kinds >= {"files", "secrets", "network", "processes", "kernel", "resources", "interpreter"}
    ours = table[("none", "self")]
    assert len(reached(ours)) >= (85 if os.geteuid() == 0 else 60), sorted(set(ours) - set(reached(ours)))
