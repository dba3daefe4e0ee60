"""A server publishes a table of 5 MB once, and 64 consumers in four processes pull it, each with its own grant.

python -m demos.fanout [--consumers N] [--output FILE.svg] [--json]
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from functools import partial
from time import perf_counter

from broker_plane import AuditEntry, BodyId, Plane

from .around import demo_parser
from .bars import working
from .consumers import Got, Pull, at_once, checksum
from .crowd import Fanned, Row, Task, made_rows, shown, tasks
from .fanout_report import report
from .stage import perform
from .traffic import traffic

MOST = 1_000
PROCESSES = 4
_AUDIT_SECONDS = 5.0


def run(*, json: bool = False, consumers: int = 64, output: str = "") -> int:
    """Run the demo; 0 if each consumer got exactly what its grant shows, 1 if not, 130 after Ctrl-C."""
    if not 1 <= consumers <= MOST:
        print(f"--consumers {consumers}: give a number from 1 to {MOST}", file=sys.stderr)
        return 2
    return perform(_tell(consumers), partial(report, json=json, output=output), lambda fanned: fanned.verified)


async def _tell(count: int) -> Fanned:
    rows = made_rows()
    async with Plane.connect() as plane:
        with working("fanout: publish 5 MB") as now:
            published = await plane.publish(rows, uses=1, ttl=600)
            now.rows = len(rows)
        began = perf_counter()
        made = await plane.grants.mint_many(published.body.id, [task.name for task in tasks(count)], uses=1)
        given = [(task, plane.narrow(url, task.less)) for task, (_, url) in zip(tasks(count), made, strict=True)]
        minting_ms = (perf_counter() - began) * 1000
        # Each pulls as a guest that authenticates with its grant; a NATS without accounts has no guests.
        guests = plane.offers_subjects
        pulls = [Pull(task.name, task.way, narrowed.resource_url) for task, narrowed in given]
        with working(f"fanout: {count} consumers pull"):
            before = await traffic(plane)
            at, got = await at_once(plane, pulls, processes=PROCESSES, guests=guests)
            spent = await traffic(plane) - before
        audited = await _audited(plane, published.body.id, count)
        bytes_of = {entry.grant_id: entry.bytes for entry in audited}
        people = [_row(task, got[task.name], rows, at, bytes_of.get(narrowed.grant_id)) for task, narrowed in given]
        return Fanned(published.body.size, len(rows), minting_ms, people, spent)


def _row(task: Task, got: Got, rows: list[dict[str, object]], at: float, delivered: int | None) -> Row:
    expected = shown(task, rows)
    verified = not got.error and (got.rows, got.checksum) == (len(expected), checksum(expected))
    return Row(
        name=task.name,
        way=task.way,
        process=got.process,
        shows=task.shows,
        rows=got.rows,
        bytes=delivered,
        start_ms=round((got.start - at) * 1000, 1),
        end_ms=round((got.end - at) * 1000, 1),
        verified=verified,
        error=got.error,
    )


async def _audited(plane: Plane, body_id: BodyId, count: int) -> list[AuditEntry]:
    """Return the audit entries of the pulls, which are written within a second; empty if there is no audit."""
    deadline = perf_counter() + (_AUDIT_SECONDS if plane.settings.audit_retention_bytes else 0)
    while True:
        pulled = [entry for entry in await plane.bodies.audit(body_id) if entry.what == "pulled"]
        if len({entry.grant_id for entry in pulled}) >= count or perf_counter() > deadline:
            return pulled
        await asyncio.sleep(0.05)


def main(argv: Sequence[str] | None = None) -> int:
    parser = demo_parser("fanout", __doc__)
    parser.add_argument("--consumers", type=int, default=64, help="how many; half of them over NATS (64)")
    parser.add_argument("--output", default="", help="the picture's SVG; default: a new file")
    parser.add_argument("--json", action="store_true", help="one JSON object in place of the table")
    return run(**vars(parser.parse_args(argv)))


if __name__ == "__main__":
    sys.exit(main())
