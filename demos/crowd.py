"""The table of `fanout`, what each consumer may see of it, and what each got. No I/O."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import cache
from random import Random
from typing import Any, Literal

from broker_plane import Narrowing

from .traffic import Traffic

Way = Literal["nats", "http"]
ROWS, REGIONS, NOTE_BYTES = 20_000, 16, 122
_A_FEW_MINUTES = 300


@dataclass(frozen=True)
class Task:
    """One consumer: its name, its transport, and how its grant is narrowed."""

    name: str
    way: Way
    shows: str
    less: Narrowing


@dataclass(frozen=True)
class Row:
    """What one consumer got, and when, in milliseconds since the start. `bytes` are from the audit."""

    name: str
    way: Way
    process: int
    shows: str
    rows: int
    bytes: int | None
    start_ms: float
    end_ms: float
    verified: bool
    error: str


@dataclass(frozen=True)
class Fanned:
    """One run: the body, what each consumer got, and the broker's traffic."""

    size: int
    rows: int
    minting_ms: float
    consumers: list[Row]
    spent: Traffic

    @property
    def verified(self) -> bool:
        return all(consumer.verified for consumer in self.consumers)

    @property
    def ms(self) -> float:
        return max((consumer.end_ms for consumer in self.consumers), default=0.0)

    @property
    def delivered(self) -> int:
        return sum(consumer.bytes or 0 for consumer in self.consumers)

    def as_json(self) -> dict[str, Any]:
        return {
            "demo": "fanout",
            "body": {"bytes": self.size, "rows": self.rows},
            "verified": self.verified,
            "ms": self.ms,
            "minting_ms": round(self.minting_ms, 1),
            "delivered_bytes": self.delivered,
            "broker": asdict(self.spent),
            "consumers": [asdict(consumer) for consumer in self.consumers],
        }


@cache
def made_rows() -> list[dict[str, Any]]:
    """About 5 MB when stored: readings of sensors, with notes that do not compress below half."""
    dice = Random(5)  # noqa: S311 - the same table each time
    return [
        {
            "sensor": f"sensor-{row:05}",
            "region": f"r{dice.randrange(REGIONS):02}",
            "level": dice.randrange(100),
            "note": dice.randbytes(NOTE_BYTES).hex(),
        }
        for row in range(ROWS)
    ]


def tasks(count: int) -> list[Task]:
    """Return the consumers: in turn they may see everything, two columns, their own rows, or one region."""
    return [_task(number, count) for number in range(count)]


def _task(number: int, count: int) -> Task:
    way: Way = "nats" if number % 2 else "http"
    name = f"agent-{number:03}"
    kind = number // 2 % 4
    if kind == 0:
        return Task(name, way, "everything", Narrowing(ttl=_A_FEW_MINUTES))
    if kind == 1:
        return Task(name, way, "sensor, level", Narrowing(columns=["sensor", "level"]))
    if kind == 2:
        first, last = ROWS * number // count, ROWS * (number + 1) // count - 1
        return Task(name, way, f"rows {first}-{last}", Narrowing(rows=f"{first}-{last}"))
    region = f"r{number % REGIONS:02}"
    return Task(name, way, f"region {region}", Narrowing(where=f"region = '{region}'"))


def shown(task: Task, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the rows that `task` must get, computed without the plane."""
    if task.less.columns:
        return [{name: row[name] for name in task.less.columns} for row in rows]
    if isinstance(task.less.rows, str):
        first, _, last = task.less.rows.partition("-")
        return rows[int(first) : int(last) + 1]
    if task.less.where:
        region = task.shows.removeprefix("region ")
        return [row for row in rows if row["region"] == region]
    return rows
