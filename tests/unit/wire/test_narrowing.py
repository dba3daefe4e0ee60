"""What a chain of caveats shows is what a model says, and a child never shows more than its parent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from broker_plane.errors import SelectorError
from broker_plane.wire import grant as grants
from broker_plane.wire.caveats import Caveat, Columns, Rows, Where, encode_caveat
from broker_plane.wire.grant import narrow
from broker_plane.wire.names import decode_id, encode_id
from broker_plane.wire.rows import of_ids
from tests.unit.memory import Memory

pytestmark = pytest.mark.anyio

COLUMNS = ("a", "b", "c", "d")
ROWS = 30
Row = dict[str, Any]
Shown = tuple[set[str], list[int]]
Compared = list[tuple[str, type]]


def table(dice: Random) -> list[Row]:
    values: list[Callable[[], Any]] = [lambda: dice.randrange(4), lambda: dice.choice("xyz"), lambda: None]
    rows = [{name: dice.choice(values)() for name in COLUMNS if dice.random() < 0.9} for _ in range(ROWS)]
    return [dict.fromkeys(COLUMNS, 0), *rows[1:]]


def random_where(dice: Random) -> tuple[str, Compared, Callable[[Row], bool]]:
    """A `where`, the columns that it compares with the types of the literals, and the rows that it holds for."""
    name, other = dice.choice(COLUMNS), dice.choice(COLUMNS)
    number, letter = dice.randrange(4), dice.choice("xyz")
    wheres: list[tuple[str, Compared, Callable[[Row], bool]]] = [
        (f"{name} = {number}", [(name, int)], lambda row: row.get(name) == number),
        (f"{name} >= {number}", [(name, int)], lambda row: type(row.get(name)) is int and row[name] >= number),
        (f"{name} != '{letter}'", [(name, str)], lambda row: isinstance(row.get(name), str) and row[name] != letter),
        (
            f"not {name} in ({number}, '{letter}')",
            [(name, int), (name, str)],
            lambda row: row.get(name) not in (number, letter),
        ),
        (f"{name} is null", [(name, type(None))], lambda row: row.get(name) is None),
        (
            f"{name} < {number} or {other} = '{letter}'",
            [(name, int), (other, str)],
            lambda row: (type(row.get(name)) is int and row[name] < number) or row.get(other) == letter,
        ),
    ]
    return dice.choice(wheres)


def step(dice: Random, rows: list[Row], before: Shown) -> tuple[Caveat, Shown | str]:
    """A caveat, and what the model says is left after it, or the error where it names what is hidden or unlike."""
    columns, ids = before
    kind = dice.randrange(4)
    if kind == 0:
        names = dice.sample(COLUMNS, dice.randrange(1, 5))
        return Columns(tuple(names)), (columns & set(names), ids)
    if kind == 1:
        among = set(dice.sample(range(ROWS + 5), dice.randrange(ROWS)))
        return Rows(of_ids(among)), (columns, [row for row in ids if row in among])
    if kind == 2:
        first = dice.randrange(ROWS)
        return Rows(first=first), (columns, ids[:first])
    text, compared, holds = random_where(dice)
    if not {name for name, _ in compared} <= columns:
        return Where(text), "There is no column"
    for name, kind_of in compared:
        kinds = {type(rows[row].get(name)) for row in ids} - {type(None)}
        if kind_of is not type(None) and kinds and kind_of not in kinds:
            return Where(text), "no row can match"
    return Where(text), (columns, [row for row in ids if holds(rows[row])])


def sealed_anyway(text: str, caveat: Caveat) -> str:
    """As `narrow`, by a holder who leaves out its checks."""
    raw, encoded = decode_id(text), encode_caveat(caveat)
    return encode_id(raw[:-16] + encoded + grants._tag(raw[-16:], encoded))


async def check_chains(count: int) -> Counter[str]:
    dice = Random(count)
    memory = Memory([])
    refused: Counter[str] = Counter()
    for number in range(count):
        if number % 100 == 0:
            rows = table(dice)
            memory = Memory(rows)
        text = await memory.mint()
        left: Shown = (set(COLUMNS), list(range(ROWS)))
        shown: Shown = left
        for _ in range(dice.randrange(1, 6)):
            caveat, after = step(dice, rows, left)
            text = sealed_anyway(text, caveat)
            if isinstance(after, str):
                with pytest.raises(SelectorError, match=after):
                    await memory.shown(text)
                refused[after] += 1
                break
            left = after
            columns, got = await memory.shown(text)
            child = (set(columns), [row["_row_id"] for row in got])
            assert child == left
            assert child[0] <= shown[0]
            assert set(child[1]) <= set(shown[1])
            expected = [{name: rows[row][name] for name in rows[row] if name in columns} for row in child[1]]
            assert [{name: row[name] for name in row if name != "_row_id"} for row in got] == expected
            shown = child
    return refused


@pytest.mark.parametrize("count", [300, pytest.param(5_000, marks=pytest.mark.full)])
async def test_chains_of_caveats_show_what_the_model_says_and_never_more_than_before(count: int) -> None:
    refused = await check_chains(count)
    assert 0.06 * count < refused.total() < 0.94 * count
    assert set(refused) == {"There is no column", "no row can match"}


async def test_a_where_is_passed_once_and_remembered_for_its_grant() -> None:
    memory = Memory([{"a": number} for number in range(100)])
    text = narrow(await memory.mint(), Where("a > 97"))
    assert len((await memory.shown(text))[1]) == 2
    reads = memory.bodies.reads
    assert len((await memory.shown(text))[1]) == 2
    assert memory.bodies.reads == reads + 2  # the table, and the one frame that holds them
