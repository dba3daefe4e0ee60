"""What is asked of both sides, by group: a the whole way, b a fetch alone, c projections, d memory, e a fan-out.

f is notices: from the acknowledgement of a version to the loop body of its subscriber, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from broker_plane.testing.bench import WAYS, Way
from tests.bench.lines import Request

GROUPS = ("a", "b", "c", "d", "e", "f")
MCP_SD, NGINX, CORE = "mcp-sd", "nginx", "core NATS"
FULL_ROWS, QUICK_ROWS = (8, 1_000, 50_000), (8, 1_000)
FULL_BYTES, QUICK_BYTES = (50_000, 1_000_000, 5_000_000, 20_000_000), (50_000, 1_000_000)
MANY_ROWS, FEWER_ROWS = 50_000, 5_000
ROUNDS, HEAVY_ROUNDS, QUICK_ROUNDS = 15, 5, 3
HEAVY_ROWS, HEAVY_BYTES = 10_000, 20_000_000
FAN_OUT_BYTES, FAN_OUT, QUICK_FAN_OUT = 5_000_000, 64, 16
NOTICES, QUICK_NOTICES = 200, 20
PROJECTED: tuple[Way, ...] = ("nats-kept", "http-new")


@dataclass(frozen=True)
class Case:
    """One question to ours and to `peer`. `ours` may name a way that they do not have; `warm` asks once unrecorded."""

    group: str
    name: str
    ours: Request
    theirs: Request
    rounds: int
    warm: bool = True
    peer: str = MCP_SD


def cases(only: str, quick: bool, rounds: int | None) -> list[Case]:
    """The cases of the groups in `only`, each with `rounds` rounds, or as many as it can afford."""
    light, heavy = (QUICK_ROUNDS, QUICK_ROUNDS) if quick else (ROUNDS, HEAVY_ROUNDS)
    found = (
        *_whole_way(QUICK_ROWS if quick else FULL_ROWS, rounds or light, rounds or heavy),
        *_fetch(QUICK_BYTES if quick else FULL_BYTES, rounds or light, rounds or heavy),
        *_projection(FEWER_ROWS if quick else MANY_ROWS, rounds or heavy),
        _memory(FEWER_ROWS if quick else MANY_ROWS, rounds or QUICK_ROUNDS),
        *_fan_out(QUICK_FAN_OUT if quick else FAN_OUT, rounds or heavy),
        *_notices(QUICK_NOTICES if quick else NOTICES, rounds or QUICK_ROUNDS),
    )
    return [case for case in found if case.group in only.split(",")]


def _whole_way(tables: tuple[int, ...], light: int, heavy: int) -> Iterator[Case]:
    for over in ("process", "stdio"):
        for rows in tables:
            request = {"do": "whole_way", "rows": rows, "over": over}
            where = "in one process" if over == "process" else "over stdio"
            yield Case("a", f"whole way {where}, {rows:,}x29", request, request, heavy if rows > HEAVY_ROWS else light)


def _fetch(sizes: tuple[int, ...], light: int, heavy: int) -> Iterator[Case]:
    for size in sizes:
        for way, said in WAYS.items():
            request = {"do": "fetch", "size": size}
            name = f"fetch {size / 1e6:g} MB, ours by {said}"
            yield Case("b", name, {**request, "way": way}, request, heavy if size >= HEAVY_BYTES else light)


def _projection(rows: int, rounds: int) -> Iterator[Case]:
    two = {"do": "columns", "rows": rows, "columns": ["detail_0", "note_0"]}
    for way in PROJECTED:
        name = f"2 of 29 columns of {rows:,} rows, ours by {WAYS[way]}"
        yield Case("c", name, {**two, "way": way}, two, rounds)
    some = {"do": "some_rows", "rows": rows, "every": 100}
    yield Case("c", f"{rows // 100:,} of {rows:,} rows, the consumer's call", some, some, rounds)


def _fan_out(consumers: int, rounds: int) -> Iterator[Case]:
    request = {"do": "fan_out", "size": FAN_OUT_BYTES, "consumers": consumers}
    for way in ("http", "nats"):
        name = f"fan-out of {consumers} x {FAN_OUT_BYTES / 1e6:g} MB, ours over {way.upper()}, theirs is nginx"
        yield Case("e", name, {**request, "way": way}, request, rounds, peer=NGINX)


def _notices(count: int, rounds: int) -> Iterator[Case]:
    for way, said in (("nats", "NATS"), ("sse", "SSE"), ("webhook", "webhook")):
        name = f"{count} notices, ours over {said}, theirs is core NATS"
        ours = {"do": "notices", "count": count, "way": way}
        yield Case("f", name, ours, {"do": "notices", "count": count}, rounds, peer=CORE)


def _memory(rows: int, rounds: int) -> Case:
    request = {"do": "memory", "rows": rows}
    return Case("d", f"peak memory, {rows:,}x29 over stdio", request, request, rounds, warm=False)
