"""What the rows beside a y-websocket server, those of generated code and those of carriers are meant to reach."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from statistics import median

from tests.bench.cases import (
    CALLS_AT_ONCE,
    CARRIED,
    LONG_CALLS,
    TOGETHER,
    calls_name,
    flat_out_name,
    learned_name,
    long_calls_name,
    paced_name,
)
from tests.bench.conductor import RATE, Measured
from tests.bench.learned import ADDED_MS

LEAST_RATIO = 0.5
"""Of the peer's throughput, which stores nothing."""
MOST_P99_MS = 50.0
AT_PARTICIPANTS = 8
"""The number of participants for which the latency has an aim."""


MOST_NATS, MOST_WEBHOOK = 1.0, 3.0
"""Of the time of a call over Streamable HTTP."""
MOST_MB = 150


@dataclass(frozen=True)
class Aim:
    """One figure beside its aim."""

    row: str
    measured: str
    aim: str
    met: bool

    def __str__(self) -> str:
        return f"{self.row}: {self.measured} (aim: {self.aim}; {'met' if self.met else 'NOT met'})"


def met_or_not(measured: list[Measured]) -> Iterator[Aim]:
    """Every aim whose row was measured."""
    rows = {entry.name: entry for entry in measured}
    for participants in TOGETHER:
        entry = rows.get(f"{flat_out_name(participants)}: {RATE}")
        if entry is not None and entry.ratio is not None:
            row = f"throughput with {participants} participants, ours ÷ y-websocket's"
            yield Aim(row, f"{entry.ratio:.2f}", f"at least {LEAST_RATIO}", entry.ratio >= LEAST_RATIO)
    latency = rows.get(f"{paced_name(AT_PARTICIPANTS)}: p99")
    if latency is not None and latency.ours:
        found = median(latency.ours)
        row = f"p99 from edit to visible, {AT_PARTICIPANTS} participants at {TOGETHER[AT_PARTICIPANTS][2]} edits/s each"
        yield Aim(row, f"{found:.1f} ms", f"below {MOST_P99_MS:g} ms", found < MOST_P99_MS)
    yield from _learned(rows)
    yield from _carried(rows)


def _learned(rows: Mapping[str, Measured]) -> Iterator[Aim]:
    learned = rows.get(learned_name())
    if learned is not None and learned.ours and learned.theirs:
        added = median(learned.ours) - median(learned.theirs)
        row = "1 MB at Level 1.5 on the interpreter rung, more than the native handler"
        yield Aim(row, f"{added:.1f} ms", f"below {ADDED_MS:g} ms", added < ADDED_MS)


def _carried(rows: Mapping[str, Measured]) -> Iterator[Aim]:
    for carrier, said in CARRIED.items():
        most = MOST_WEBHOOK if carrier == "webhook" else MOST_NATS
        for at_once in CALLS_AT_ONCE:
            for percentile in ("p50", "p99"):
                entry = rows.get(f"{calls_name(carrier, at_once)}: {percentile}")
                if entry is not None and entry.ratio:
                    row = f"small call over {said}, {at_once} at a time, {percentile}, ours ÷ Streamable HTTP's"
                    yield Aim(row, f"{1 / entry.ratio:.2f}", f"below {most:g}", 1 / entry.ratio < most)
        memory = rows.get(f"{long_calls_name(carrier)}: RSS")
        if memory is not None and memory.ours:
            found = median(memory.ours)
            row = f"memory (RSS) of a server with {LONG_CALLS:,} long calls over {said}"
            yield Aim(row, f"{found:.0f} MiB", f"below {MOST_MB} MB", found * 2**20 < MOST_MB * 10**6)
