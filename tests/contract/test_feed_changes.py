"""A subscriber is told what changed, whatever was published, whenever it looked and whatever its grant hides."""

from __future__ import annotations

from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st

from broker_plane import Plane
from broker_plane.plane.feeds.changes import Changes
from broker_plane.plane.feeds.retry_schedule import RetrySchedule
from broker_plane.subjects.feed_versions import GrantedVersions
from broker_plane.tabular.delta import keyed, same_value, shown_key
from broker_plane.wire.feeds import Notice
from tests.examples import examples

pytestmark = pytest.mark.anyio
Row = dict[str, Any]
AT_ONCE = RetrySchedule(delays=(0.0,) * 9)
COLUMNS = ["id", "city", "mail", "n", "note"]


def by_key(rows: list[Row], key: tuple[str, ...] = ("id",)) -> dict[Any, Row]:
    return {value: dict(row) for value, row in keyed(rows, shown_key(rows, key)).items()}


def check(changes: Changes, before: list[Row], after: list[Row]) -> None:
    """`changes` are exactly what leads from `before` to `after`."""
    key = shown_key(before or after, changes.key)
    had, now = by_key(before, key), by_key(after, key)
    if not key:
        assert not changes.changed
        assert len(changes.added) == len(now.keys() - had.keys())
        assert len(changes.removed) == len(had.keys() - now.keys())
    else:
        added, changed, removed = (
            {tuple(row[name] for name in key): row for row in rows}
            for rows in (changes.added, changes.changed, changes.removed)
        )
        assert not added.keys() & had.keys()
        assert changed.keys() <= had.keys() & now.keys()
        assert removed.keys() <= had.keys() and not removed.keys() & now.keys()
        for value, row in changed.items():
            told = {name: each for name, each in row.items() if name not in key}
            assert told, "a row without a change"
            for name, each in told.items():
                assert not same_value(had[value].get(name, ...), now[value].get(name, ...)), name
                assert same_value(each, now[value].get(name))
        applied = {value: row for value, row in had.items() if value not in removed} | added
        applied |= {value: {**applied[value], **row} for value, row in changed.items()}
        assert without_none(applied) == without_none(now)
    table = by_key(before, key)
    for _ in range(2):  # doing it again changes nothing
        changes.apply(table)
        assert same_value(table, {value: now[value] for value in table}) and table.keys() == now.keys()


def without_none(table: dict[Any, Row]) -> dict[Any, Row]:
    return {value: {n: each for n, each in row.items() if each is not None} for value, row in table.items()}


IDS = st.integers(0, 5)
CELLS = st.one_of(st.none(), st.sampled_from(["Oslo", "Quito"]))
FIELDS = st.fixed_dictionaries(
    {"city": st.sampled_from(["Oslo", "Quito"])},
    optional={"mail": CELLS, "n": st.integers(0, 2), "note": st.sampled_from(["x" * 40, "y" * 40])},
)
FILLER: list[Row] = [{"id": number, "city": "Lima", "note": f"{number:040d}"} for number in range(100, 140)]
STEP: st.SearchStrategy[Any] = st.one_of(
    st.tuples(st.just("snapshot"), st.dictionaries(IDS, FIELDS, max_size=4), st.booleans()),
    st.tuples(st.just("delta"), st.dictionaries(IDS, FIELDS, max_size=3), st.sets(IDS, max_size=3)),
    st.tuples(st.just("empty"), st.just({}), st.booleans()),
)
VIEWS: list[tuple[list[str] | None, str | None]] = [
    (None, None),
    (["id", "mail"], None),
    (["id", "city", "note"], "city = 'Oslo'"),
    (None, "n > 0"),
    (["city", "mail"], None),
]


@dataclass
class History:
    """A feed, and a model of what its versions hold."""

    plane: Plane
    feed: str
    table: dict[int, Row] = field(default_factory=dict)
    versions: list[list[Row]] = field(default_factory=lambda: [[]])
    """Rows by version; version 0 is nothing."""

    async def begin(self) -> None:
        # All columns may be missing: a snapshot that lacks one which every row had would be refused.
        first: list[Row] = [{"id": 0, "city": "Oslo"}, {"id": 1, "mail": None, "n": 1, "note": "a"}, {"id": 2}]
        self.table = {row["id"]: row for row in first}
        await self.publish(kind="snapshot")

    async def step(self, kind: str, rows: dict[int, Row], more: Any) -> None:
        given = {number: {"id": number, **fields} for number, fields in rows.items()}
        if kind == "delta":
            removed = more - rows.keys()
            self.table = {number: row for number, row in self.table.items() if number not in removed}
            for number, row in given.items():
                self.table[number] = {**self.table.get(number, {}), **row}
            await self.publish(list(given.values()), kind="delta", removed=sorted(removed))
            return
        filler = {row["id"]: row for row in (FILLER if more else [])}  # so that deltas are less than versions
        self.table = given | filler
        await self.publish(kind="snapshot")

    async def publish(self, rows: list[Row] | None = None, **options: Any) -> None:
        rows = list(self.table.values()) if rows is None else rows
        published = await self.plane.publish(rows, feed=self.feed, key="id", **options)
        if published.version == len(self.versions):
            self.versions.append([dict(row) for row in self.table.values()])
        assert published.version == len(self.versions) - 1
        assert without_none(by_key(self.versions[-1])) == without_none(by_key(list(self.table.values())))

    def shown(self, version: int, columns: list[str] | None, where: str | None) -> list[Row]:
        rows = self.versions[version]
        if where:
            rows = [row for row in rows if (row.get("n") or 0) > 0 or (where.startswith("city") and _oslo(row))]
            rows = [row for row in rows if not where.startswith("city") or _oslo(row)]
        return [{name: each for name, each in row.items() if columns is None or name in columns} for row in rows]


def _oslo(row: Row) -> bool:
    return row.get("city") == "Oslo"


async def notices(plane: Plane, feed: str) -> list[Notice]:
    async with aclosing(plane.feeds.versions(feed)) as found:
        return [notice async for notice in found]


async def follows(plane: Plane, steps: list[Any], looks: list[int], views: list[Any]) -> None:
    history = History(plane, f"crm.{uuid4().hex}")
    await history.begin()
    for step in steps:
        await history.step(*step)
    found = await notices(plane, history.feed)
    last = len(history.versions) - 1
    points = sorted({min(look, last) for look in looks} | {0, last})
    for columns, where in views:
        granted = await plane.feeds.grant(history.feed, columns=columns, where=where)
        ways: list[Any] = [GrantedVersions(plane.pulls.nats, granted.resource_url)]
        ways += [plane.feeds.adapters.stored] if columns is None and where is None else []
        for way in ways:
            for place, since in enumerate(points):
                for version in points[place + 1 :]:
                    changes = await way.changes(found[version - 1], since)
                    assert (changes.since, changes.version) == (since, version)
                    check(changes, *(history.shown(each, columns, where) for each in (since, version)))


QUICK = settings(
    max_examples=examples(0.12),
    deadline=None,
    phases=[Phase.explicit, Phase.generate],
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HISTORIES = (st.lists(STEP, min_size=1, max_size=5), st.lists(st.integers(0, 6), max_size=2))


@QUICK
@given(*HISTORIES, st.lists(st.sampled_from(VIEWS), min_size=1, max_size=2))
@example([("delta", {0: {"city": "Quito"}}, set()), ("delta", {0: {"city": "Oslo"}}, set())], [1], VIEWS)
@example([("delta", {}, {0}), ("delta", {0: {"city": "Oslo"}}, set())], [1], VIEWS)
@example([("empty", {}, False), ("snapshot", {3: {"city": "Oslo", "n": 1}}, True)], [1, 2], VIEWS)
@example([("snapshot", {}, True), ("delta", {3: {"city": "Oslo"}}, {0}), ("empty", {}, False)], [2, 3], VIEWS)
async def test_changes_lead_from_what_was_had_to_what_is_there(
    plane: Plane, steps: list[Any], looks: list[int], views: list[Any]
) -> None:
    await follows(plane, steps, looks, views)


@pytest.mark.full
@settings(parent=QUICK, max_examples=250)
@given(*HISTORIES, st.lists(st.sampled_from(VIEWS), min_size=1, max_size=3))
async def test_changes_of_many_histories(plane: Plane, steps: list[Any], looks: list[int], views: list[Any]) -> None:
    await follows(plane, steps, looks, views)
