"""What is asked of both sides, by group.

a the whole way, b a fetch alone, c projections, d memory, e a fan-out, f notices, g bytes alone, h tables and SQL,
i edits of several participants, j generated code, k calls of an MCP server over a carrier.
f is from the acknowledgement of a feed's version to the loop body of its subscriber, in a process of its own.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from broker_plane.testing.bench import WAYS, Way
from tests.bench.lines import Request
from tests.bench.rows import CELLS
from tests.carriers import Carrier

GROUPS = ("a", "b", "c", "d", "e", "f", "g", "h", "i", "j", "k")
MCP_SD, NGINX, BARE_NATS, OURSELVES, YJS = "mcp-sd", "nginx", "nats", "ourselves", "y-websocket"
HTTP = "Streamable HTTP"
FULL_ROWS, QUICK_ROWS = (8, 1_000, 50_000), (8, 1_000)
FULL_BYTES, QUICK_BYTES = (50_000, 1_000_000, 5_000_000, 20_000_000), (50_000, 1_000_000)
MANY_ROWS, FEWER_ROWS = 50_000, 5_000
ROUNDS, HEAVY_ROUNDS, QUICK_ROUNDS = 15, 5, 3
HEAVY_ROWS, HEAVY_BYTES = 10_000, 20_000_000
FAN_OUT_BYTES, FAN_OUT, QUICK_FAN_OUT = 5_000_000, (64, 256), 16
NOTICES, QUICK_NOTICES = 200, 20
TOGETHER = {2: (2_000, 16, 20), 8: (2_000, 16, 20), 64: (1_280, 4, 1)}
"""By the number of participants: the edits of all at full speed, how many of its own each leaves unseen, and the edits
that each makes a second where the latency is measured."""
PACED_SECONDS, QUICK_PACED_SECONDS = 10, 3
CARRIED: dict[Carrier, str] = {"nats": "NATS", "nats-core": "NATS, not durable", "webhook": "webhooks"}
CALLS_AT_ONCE = {1: 500, 64: 3_200}
"""By the number of calls under way at any time: how many are measured."""
LONG_CALLS = 1_000
LEARNED_BYTES = 1_000_000
PROJECTED: tuple[Way, ...] = ("nats-kept", "http-new")


@dataclass(frozen=True)
class Case:
    """One question to ours and to `peer`. `ours` may name a way that they do not have; `warm` asks once unrecorded.

    What has a `headline` is a row of the README's table (`--readme`).
    """

    group: str
    name: str
    ours: Request
    theirs: Request
    rounds: int
    warm: bool = True
    peer: str = MCP_SD
    headline: str = ""


def cases(only: str, quick: bool, rounds: int | None) -> list[Case]:
    """The cases that `only` names (groups, or a part of a name), with `rounds` rounds or as many as each can afford."""
    light, heavy = (QUICK_ROUNDS, QUICK_ROUNDS) if quick else (ROUNDS, HEAVY_ROUNDS)
    found = (
        *_whole_way(QUICK_ROWS if quick else FULL_ROWS, rounds or light, rounds or heavy),
        *_fetch(QUICK_BYTES if quick else FULL_BYTES, rounds or light, rounds or heavy),
        *_projection(FEWER_ROWS if quick else MANY_ROWS, rounds or heavy),
        _memory(FEWER_ROWS if quick else MANY_ROWS, rounds or QUICK_ROUNDS),
        *(case for count in ((QUICK_FAN_OUT,) if quick else FAN_OUT) for case in _fan_out(count, rounds or heavy)),
        *_notices(QUICK_NOTICES if quick else NOTICES, rounds or QUICK_ROUNDS),
        _flights(rounds or heavy),
        _grouped(rounds or light),
        *_transports(rounds or light, rounds or heavy, quick),
        *_together(rounds or (QUICK_ROUNDS if quick else HEAVY_ROUNDS), quick),
        _learned(rounds or light),
        *_carried(rounds or heavy, quick),
    )
    asked = set(only.split(","))
    return [case for case in found if (case.group in asked if asked <= set(GROUPS) else only in case.name)]


def _whole_way(tables: tuple[int, ...], light: int, heavy: int) -> Iterator[Case]:
    for over in ("process", "stdio"):
        for rows in tables:
            request = {"do": "whole_way", "rows": rows, "over": over}
            where = "in one process" if over == "process" else "over stdio"
            said = f"tool to tool through an agent, over stdio, {rows:,} x 29" if over == "stdio" else ""
            turns = heavy if rows > HEAVY_ROWS else light
            yield Case("a", f"whole way {where}, {rows:,}x29", request, request, turns, headline=said)
    rows = tables[-1]
    request = {"do": "whole_way", "rows": rows, "over": "process"}
    for form, said in (("table", "ours as tables"), ("url", "ours as tables, the URL alone handed on")):
        name = f"whole way in one process, {rows:,}x29, {said}"
        headline = f"the same {rows:,} rows as a polars table, in one process" if form == "url" else ""
        turns = heavy if rows > HEAVY_ROWS else light
        yield Case("a", name, {**request, "form": form}, request, turns, headline=headline)


def _fetch(sizes: tuple[int, ...], light: int, heavy: int) -> Iterator[Case]:
    for size in sizes:
        for way, said in WAYS.items():
            request = {"do": "fetch", "size": size}
            name = f"fetch {size / 1e6:g} MB, ours by {said}"
            headline = f"{size / 1e6:g} MB pulled by a new client" if way == "http-new" and size < HEAVY_BYTES else ""
            turns = heavy if size >= HEAVY_BYTES else light
            yield Case("b", name, {**request, "way": way}, request, turns, headline=headline)


def _projection(rows: int, rounds: int) -> Iterator[Case]:
    two = {"do": "columns", "rows": rows, "columns": ["detail_0", "note_0"]}
    for way in PROJECTED:
        name = f"2 of 29 columns of {rows:,} rows, ours by {WAYS[way]}"
        yield Case("c", name, {**two, "way": way}, two, rounds)
    some = {"do": "some_rows", "rows": rows, "every": 100}
    yield Case("c", f"{rows // 100:,} of {rows:,} rows, the consumer's call", some, some, rounds)
    cells = {"do": "some_cells", "rows": rows, "every": 100, "columns": [*CELLS]}
    yield Case("c", f"{rows // 100:,} of {rows:,} rows and 2 of 29 columns, the consumer's call", cells, cells, rounds)


def _fan_out(consumers: int, rounds: int) -> Iterator[Case]:
    for way, peer, said in (
        ("http", NGINX, "nginx"),
        ("nats", NGINX, "nginx"),
        ("nats", BARE_NATS, "a core broadcast"),
    ):
        request = {"do": "fan_out", "size": FAN_OUT_BYTES, "consumers": consumers}
        name = f"fan-out of {consumers} x {FAN_OUT_BYTES / 1e6:g} MB, ours over {way.upper()}, theirs is {said}"
        told = f"5 MB to {consumers} readers over {way.upper()}" if (way == "http") == (peer == NGINX) else ""
        yield Case("e", name, {**request, "way": way}, request, rounds, peer=peer, headline=told)


def _flights(rounds: int) -> Case:
    name = "336,776x19 flights: publish, pull, merge, ours as a polars table; theirs is ours as rows"
    ours, theirs = ({"do": "flights", "form": form} for form in ("table", "rows"))
    return Case("h", name, ours, theirs, rounds, peer=OURSELVES, headline="336,776 x 19 as a table, beside as rows")


def _grouped(rounds: int) -> Case:
    name = "336,776x19 flights, grouped by 2 columns: a query over a body; theirs is DuckDB on a Parquet file"
    ours, theirs = ({"do": "grouped", "by": by} for by in ("bridge", "duckdb"))
    return Case("h", name, ours, theirs, rounds, peer=OURSELVES, headline="SQL over 336,776 x 19, beside DuckDB alone")


def _transports(light: int, heavy: int, quick: bool) -> Iterator[Case]:
    """Bytes alone, beside what moves the same bytes without grants, digests and windows."""
    for fresh, said in ((False, "warm"), (True, "the first pull")):
        request = {"do": "get", "size": 5_000_000, "fresh": fresh}
        name = f"GET of 5 MB, a kept client, {said}; theirs is nginx"
        yield Case("g", name, request, request, light, peer=NGINX, headline=f"GET of 5 MB, {said}")
    request = {"do": "storm", "size": 65_536}
    name = "GET of 64 KB by 64 clients, by request; theirs is nginx"
    yield Case("g", name, request, request, heavy, peer=NGINX, headline="GET of 64 KB, 64 at a time")
    for size in (5_000_000,) if quick else (5_000_000, 100_000_000):
        request = {"do": "subject", "size": size}
        said = f"{size / 1e6:g} MB over the presigned subject"
        name = f"{said}; theirs is core publish/subscribe"
        turns = heavy if size > HEAVY_BYTES else light
        yield Case("g", name, request, request, turns, peer=BARE_NATS, headline=said)
    for uses, said in ((0, "unlimited use"), (60_000, "counted, audited")):
        request = {"do": "small", "size": 2_000, "uses": uses}
        title = f"2 KB over the presigned subject, {said}"
        name = f"{title}; theirs is one request/reply"
        yield Case("g", name, request, request, heavy, peer=BARE_NATS, headline=title)
    request = {"do": "publish", "size": 5_000_000}
    said = "publish of 5 MB with fsync"
    yield Case("g", f"{said}; theirs is raw JetStream", request, request, light, peer=BARE_NATS, headline=said)


def _notices(count: int, rounds: int) -> Iterator[Case]:
    for way, said in (("nats", "NATS"), ("sse", "SSE"), ("webhook", "webhook")):
        name = f"{count} notices, ours over {said}, theirs is core NATS"
        ours = {"do": "notices", "count": count, "way": way}
        yield Case("f", name, ours, {"do": "notices", "count": count}, rounds, peer=BARE_NATS)


def paced_name(participants: int) -> str:
    """The row of the latency with so many participants."""
    rate = TOGETHER[participants][2]
    return f"edit to visible, {participants} participants at {rate}/s each; theirs is {YJS} in memory"


def flat_out_name(participants: int) -> str:
    """The row of the throughput with so many participants."""
    return f"edits of {participants} participants at full speed; theirs is {YJS} in memory"


def _together(rounds: int, quick: bool) -> Iterator[Case]:
    """One text that participants edit; ours is stored before it is visible."""
    seconds = QUICK_PACED_SECONDS if quick else PACED_SECONDS
    for participants, (edits, window, rate) in TOGETHER.items():
        flat = {"edits": edits // 4 if quick else edits, "window": window}
        paced = {"edits": participants * rate * seconds, "per_second": rate}
        headline = f"{edits:,} edits of {participants} participants"
        for name, chosen, said in ((flat_out_name, flat, headline), (paced_name, paced, "")):
            request = {"do": "together", "participants": participants, **chosen}
            yield Case("i", name(participants), request, request, rounds, peer=YJS, headline=said)


def learned_name() -> str:
    """The row of a body by generated code."""
    return f"{LEARNED_BYTES / 1e6:g} MB by cached code in the interpreter; theirs is our handler of http"


def _learned(rounds: int) -> Case:
    ours, theirs = ({"do": "learned", "size": LEARNED_BYTES, "by": by} for by in ("code", "handler"))
    return Case("j", learned_name(), ours, theirs, rounds, peer=OURSELVES)


def calls_name(carrier: Carrier, at_once: int) -> str:
    """The row of small calls, so many at a time."""
    said = "one at a time" if at_once == 1 else f"{at_once} at a time"
    return f"small call over {CARRIED[carrier]}, {said}; theirs is {HTTP}"


def long_calls_name(carrier: Carrier) -> str:
    """The row of the memory of a server that has many long calls."""
    return f"{LONG_CALLS:,} long calls over {CARRIED[carrier]}, memory of the server; theirs is {HTTP}"


def _carried(rounds: int, quick: bool) -> Iterator[Case]:
    """The same function of the same SDK: its client and its server, with another carrier between them."""
    for carrier in CARRIED:
        for at_once, count in CALLS_AT_ONCE.items():
            ours, theirs = (
                {"do": "calls", "carrier": each, "count": count // 5 if quick else count, "at_once": at_once}
                for each in (carrier, "http")
            )
            said = f"small MCP call over {CARRIED[carrier]}, {at_once} at a time"
            yield Case("k", calls_name(carrier, at_once), ours, theirs, rounds, peer=HTTP, headline=said)
        if carrier != "nats-core":
            ours, theirs = ({"do": "long_calls", "carrier": each, "count": LONG_CALLS} for each in (carrier, "http"))
            yield Case("k", long_calls_name(carrier), ours, theirs, min(rounds, QUICK_ROUNDS), False, HTTP)


def _memory(rows: int, rounds: int) -> Case:
    request = {"do": "memory", "rows": rows}
    return Case("d", f"peak memory, {rows:,}x29 over stdio", request, request, rounds, warm=False)
