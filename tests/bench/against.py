"""`python -m tests.bench --against REF`: this working tree and another version of it by turns, row by row.

Each round asks both sides the same, in the order A B, then B A. A row is slower when the whole 95 % interval of the
ratio (`paired`) lies above 1.03 and a second run, with processes of its own, finds the same. A row ends early when its
interval lies below that or is narrow; no row ends early because it looks slower.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import monotonic
from typing import Any

from rich.markup import escape
from rich.table import Table

from tests.bench.cases import Case
from tests.bench.conductor import UNITS, VERIFIED
from tests.bench.lines import Reply
from tests.bench.paired import LEAST_ROUNDS, Interval, interval
from tests.bench.sides import Present, RefCannotError, Sides, sides

LOOKS = (LEAST_ROUNDS, 8, 10, 12, 15, 20, 25, 30, 35)
"""After which rounds a row may end early. Looking after each would find an interval below the limit by luck."""
FIRST_RUN_SHARE = 0.75
LEAST_SECONDS = 5
FRESH_GROUP = "d"
"""Its processes are new in each round; elsewhere a peak of memory is that of all rounds before it, too."""


@dataclass(frozen=True)
class Found:
    """What one run found for one measure of a row: two samples a round. `reason` says why there are none."""

    case: Case
    measure: str = "ms"
    now: list[float] = field(default_factory=list)
    ref: list[float] = field(default_factory=list)
    note: str = ""
    reason: str = ""
    is_comparable: bool = True

    @property
    def name(self) -> str:
        return self.case.name if self.measure == "ms" else f"{self.case.name}: {self.measure}"

    @property
    def unit(self) -> str:
        return "ms" if _is_time(self.measure) else "MiB"

    @property
    def interval(self) -> Interval | None:
        return interval(self.now, self.ref) if self.now else None

    @property
    def looks_slower(self) -> bool:
        return self.interval is not None and self.interval.verdict == "slower"

    def as_json(self) -> dict[str, Any]:
        shown = self.interval
        return {
            "rounds": len(self.now),
            "ratio": shown and shown.ratio,
            "interval": shown and shown.bounds,
            "verdict": shown and shown.verdict,
            "now": self.now,
            "ref": self.ref,
            "reason": self.reason,
        }


@dataclass(frozen=True)
class Row:
    """A measure of a row: the first run, and the second if the first looked slower."""

    first: Found
    second: Found | None = None

    @property
    def is_slower(self) -> bool:
        """For a row of memory: larger."""
        return self.first.looks_slower and self.second is not None and self.second.looks_slower

    @property
    def verdict(self) -> str:
        shown = self.first.interval
        if shown is None:
            return "failed" if self.first.is_comparable else "not comparable"
        if not self.first.looks_slower:
            return shown.verdict
        if self.second is None or self.second.interval is None:
            return "slower, no second run"
        return "slower" if self.is_slower else "not confirmed"

    def as_json(self) -> dict[str, Any]:
        first = self.first
        named = {"group": first.case.group, "name": first.name, "unit": first.unit, "note": first.note}
        second = self.second.as_json() if self.second else None
        return {**named, "verdict": self.verdict, "first": first.as_json(), "second": second}


class Clock:
    """How long a row may take, so that all of them end in time: what some do not need goes to those after them."""

    def __init__(self, seconds: float, rows: int) -> None:
        self._end = monotonic() + seconds
        self._rows = rows

    def next(self) -> float:
        """The seconds of the next row, from now on: twice its share of what is left, since most rows end early."""
        share = 2 * (self._end - monotonic()) / max(self._rows, 1)
        self._rows -= 1
        return max(share, LEAST_SECONDS)


def rows_of(cases: Sequence[Case]) -> list[Case]:
    """What is asked of our own side, once each, whatever peer it is set beside elsewhere."""
    found: dict[str, Case] = {}
    for case in cases:
        found.setdefault(json.dumps(case.ours), replace(case, name=re.split(r"[;,] theirs ", case.name)[0]))
    return list(found.values())


async def run(
    pair: Sides, cases: Sequence[Case], rounds: int, minutes: float, told: Callable[[Row], None]
) -> list[Row]:
    """Every row, and a second time those that look slower; `told` hears of each as soon as it is known."""
    end = monotonic() + minutes * 60
    first = Run(rounds, Clock(minutes * 60 * FIRST_RUN_SHARE, len(cases)), lambda found: told(Row(found)))
    rows = [Row(found) for found in await first.of(pair, cases)]
    suspects = {row.first.case.name for row in rows if row.first.looks_slower}
    again = [case for case in cases if case.name in suspects]
    second = Run(rounds, Clock(end - monotonic(), len(again)), lambda _: None, turned=True)
    twice = {found.name: found for found in await second.of(pair, again)}
    rows = [replace(row, second=twice.get(row.first.name)) if row.first.looks_slower else row for row in rows]
    for row in rows:
        if row.second:
            told(row)
    return rows


@dataclass(frozen=True)
class Run:
    """How rows are run once: at most so many rounds, by the clock. `turned` begins with the other side."""

    rounds: int
    clock: Clock
    told: Callable[[Found], None]
    turned: bool = False

    async def of(self, pair: Sides, cases: Sequence[Case]) -> list[Found]:
        """What is found for each case. Processes and stores are new whenever the stores have become large."""
        waiting = deque(cases)
        found: list[Found] = []
        while waiting:
            with tempfile.TemporaryDirectory(prefix="broker-plane-against-", ignore_cleanup_errors=True) as directory:
                async with sides(pair, Path(directory)) as present:
                    while waiting and not await asyncio.to_thread(present.is_spent):
                        found += await self._row(present, waiting.popleft())
        return found

    async def _row(self, present: Present, case: Case) -> list[Found]:
        """The measures of one case; a side that fails ends it, and the row says so."""
        try:
            note = await present.choose(case)
            found = _measures(case, await self._rounds(present, case), note)
        except RefCannotError as error:
            found = [Found(case, reason=str(error), is_comparable=False)]
        except RuntimeError as error:
            found = [Found(case, reason=str(error))]
        for one in found:
            self.told(one)
        return found

    async def _rounds(self, present: Present, case: Case) -> list[tuple[Reply, Reply]]:
        end = monotonic() + self.clock.next()
        pairs: list[tuple[Reply, Reply]] = []
        for number in range(1, self.rounds + 1):
            pairs.append(await present.ask(case, now_first=(number % 2 == 1) != self.turned))
            if number >= LEAST_ROUNDS and monotonic() > end:
                break
            if number in LOOKS and all(one.interval and one.interval.is_settled for one in _measures(case, pairs)):
                break
        return pairs


def _measures(case: Case, pairs: Sequence[tuple[Reply, Reply]], note: str = "") -> list[Found]:
    """What both sides' replies have in common, less what is not a sample of its own."""
    names = [name for name in pairs[0][0] if name in pairs[0][1] and name not in VERIFIED]
    return [
        Found(case, name, [float(now[name]) for now, _ in pairs], [float(ref[name]) for _, ref in pairs], note)
        for name in names
        if _is_time(name) or case.group == FRESH_GROUP
    ]


def _is_time(measure: str) -> bool:
    return UNITS.get(measure, measure) == "ms"


def said(row: Row) -> str:
    """A row as one line, while the run goes on."""
    found = row.second or row.first
    name = f"{found.case.group}  {found.name}"
    if found.interval is None:
        return f"{name}: {row.verdict}: {_first_line(found.reason)}"
    which = "second run: " if row.second else ""
    return f"{name}: {which}{shown(found.interval)}, rounds {len(found.now)}: {row.verdict}"


def shown(of: Interval) -> str:
    bounds = f"{of.bounds[0]:.3f} to {of.bounds[1]:.3f}" if of.bounds else "no interval"
    return f"{of.ratio:.3f}  [{bounds}]"


def as_table(rows: Sequence[Row], ref: str) -> Table:
    """Medians of the first run, and the ratio with its interval of each run."""
    table = Table("", "what", "unit", "now", ref, "rounds", "now ÷ it  [95 %]", "", title=f"now beside {ref}, by turns")
    for column in table.columns[3:7]:
        column.justify = "right"
    for row in rows:
        table.add_row(*_cells(row), style="bold red" if row.is_slower else None)
    return table


def _cells(row: Row) -> tuple[str, ...]:
    first = row.first
    name = escape(f"{first.name} {first.note}".strip())
    if first.interval is None:
        return first.case.group, name, first.unit, "—", "—", "0", escape(_first_line(first.reason)), row.verdict
    both = [found for found in (first, row.second) if found]
    medians = (f"{median(side):,.2f}" for side in (first.now, first.ref))
    rounds = "\n".join(str(len(found.now)) for found in both)
    ratios = "\n".join(shown(found.interval) for found in both if found.interval)
    return first.case.group, name, first.unit, *medians, rounds, escape(ratios), row.verdict


def _first_line(text: str) -> str:
    return (text.splitlines() or [""])[0]
