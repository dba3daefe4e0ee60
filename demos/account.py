"""Counts what a demo transfers. Every number is measured here.

The savings are measured against the source's own rows, which are read beside the plane and never sent.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Set
from contextlib import contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from time import perf_counter
from typing import Any

import orjson

from .bars import Now, working

TOKEN_BYTES = 4
COUNTED = "text blocks of the resource result, the consumer's arguments and its result; 1 token = 4 UTF-8 bytes"
PASSED_ON = frozenset({"abstract_data", "resource_url", "body_data"})
"""Arguments that exist only because of the plane."""
HELD_BACK = frozenset({"body", "body_data"})
"""Parts of the result and of the consumer's arguments that a host may hide from its model in sync mode."""
_LINES = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True)
class Answer:
    """A tool result as the agent sees it: its text, its value, and the bytes that are counted separately."""

    text: str
    said: dict[str, Any]
    structured_bytes: int
    body_bytes: int


@dataclass
class Source:
    """The source's rows: their number, the bytes of their plain JSON, and the checksum of servers/checksum.py."""

    rows: int = 0
    plain_bytes: int = 1
    checksum: str = ""


def read_source(rows: Iterable[Mapping[str, Any]]) -> Source:
    """Measure the rows as a plain tool result, and compute their checksum, with one row at a time in memory."""
    seen, digest = Source(), sha256()
    for row in rows:
        line = orjson.dumps(row, option=_LINES)
        digest.update(line)
        seen.plain_bytes += len(line)  # the line's end counts as the comma, the last one as the bracket
        seen.rows += 1
    seen.checksum = digest.hexdigest()
    return seen


@dataclass(frozen=True)
class Step:
    """One thing that the agent did."""

    name: str
    ms: float
    rows: int | None = None
    bytes: int | None = None


@dataclass
class Run:
    """One run of a demo, with everything that the report needs."""

    demo: str
    mode: str
    rows_total: int = 0
    rows_arrived: int = 0
    digest_verified: bool = False
    bytes_body: int = 0
    bytes_structured: int = 0
    with_plane: int = 0
    without_plane: int = 0
    to_model: int = 0
    chart: str = ""
    steps: list[Step] = field(default_factory=list)

    @contextmanager
    def step(self, name: str) -> Iterator[Now]:
        """Time a step, and yield the object that records it."""
        with working(f"{self.demo}: {name}") as now:
            began = perf_counter()
            yield now
            self.steps.append(Step(name, round((perf_counter() - began) * 1000, 1), now.rows, now.bytes))

    def count(self, found: Answer, arguments: dict[str, Any], shown: Answer, *, plain: int) -> None:
        """Add the bytes that passed through the agent, and those that `plain` results and arguments would have had."""
        self.bytes_body = found.body_bytes
        self.bytes_structured = found.structured_bytes + shown.structured_bytes
        answer = _size(shown.text)
        self.with_plane = _size(found.text) + _size(arguments) + answer
        self.without_plane = plain + plain + _size(_without(arguments, PASSED_ON)) + answer
        held = found.said.keys() & HELD_BACK
        self.to_model = self.with_plane
        if held:
            self.to_model = _size(_without(found.said, held)) + _size(_without(arguments, HELD_BACK)) + answer

    def as_json(self) -> dict[str, Any]:
        tokens = {"with": _tokens(self.with_plane), "without": _tokens(self.without_plane)}
        saved = 100 * (1 - tokens["with"] / tokens["without"]) if tokens["without"] else 0.0
        return {
            "demo": self.demo,
            "mode": self.mode,
            "rows_total": self.rows_total,
            "rows_arrived": self.rows_arrived,
            "digest_verified": self.digest_verified,
            "bytes_body": self.bytes_body,
            "bytes_structured": self.bytes_structured,
            "tokens": {
                **tokens,
                "saved_percent": round(saved, 4),
                "to_model": _tokens(self.to_model),
                "counted": COUNTED,
            },
            "steps": [{key: value for key, value in vars(step).items() if value is not None} for step in self.steps],
            "chart": self.chart,
        }


def _size(value: Any) -> int:
    return len(value.encode() if isinstance(value, str) else orjson.dumps(value))


def _without(members: Mapping[str, Any], names: Set[str]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if name not in names}


def _tokens(size: int) -> int:
    return -(-size // TOKEN_BYTES)
