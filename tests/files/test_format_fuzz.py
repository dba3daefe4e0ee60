"""Any rows: written to a file in each format, published, pulled in each format, and equal by the documented mapping."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from time import monotonic
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given
from hypothesis import settings as rules
from hypothesis import strategies as st

from broker_plane import Plane
from broker_plane.cli.pull_output import PullOrder, pull_to_output
from broker_plane.config import Settings
from broker_plane.errors import BrokerPlaneError
from broker_plane.formats.kinds import Format
from broker_plane.formats.text_rows import read_rows
from broker_plane.tabular.types import pack, unpack
from tests.examples import examples

Row = dict[str, Any]
SAFE = 1 << 53
IN_CI = os.environ.get("CI", "").lower() in ("1", "true")

NAMES = st.text(max_size=6).filter(lambda name: name != "_row_id" and not name.startswith(("\ufeff", "\0")))
ODD = [
    "007",
    "1e5",
    "inf",
    "nan",
    "+1",
    "-0",
    "1.10",
    "12.50",
    "true",
    "TRUE",
    "2026-01-02",
    "=1+1",
    "",
    " ",
    "\ufeff",
    "NULL",
]
TEXTS = st.text(max_size=20) | st.sampled_from(ODD) | st.integers().map(str) | st.floats().map(repr)
SCALARS = st.none() | st.booleans() | st.integers() | st.integers(-(1 << 70), 1 << 70) | st.floats(allow_nan=False)
FINITE = SCALARS.filter(lambda value: not isinstance(value, float) or math.isfinite(value)) | TEXTS
VALUES = st.recursive(
    FINITE, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=6
)
ANY = VALUES | st.floats() | st.binary(max_size=20)


def tables(values: st.SearchStrategy[Any]) -> st.SearchStrategy[list[Row]]:
    return st.lists(NAMES, min_size=1, max_size=5, unique=True).flatmap(
        lambda names: st.lists(st.dictionaries(st.sampled_from(names), values, max_size=5), max_size=8)
    )


def as_json(rows: list[Row], plain: bool) -> bytes:
    return json.dumps(rows, ensure_ascii=plain, indent=None if plain else 1).encode()


def as_lines(rows: list[Row], plain: bool) -> bytes:
    end = "\n" if plain else "\r\n"
    return "".join(json.dumps(row, ensure_ascii=plain) + end for row in rows).encode()


WRITERS: dict[Format, Callable[[list[Row], bool], bytes]] = {
    Format.json: as_json,
    Format.ndjson: as_lines,
    Format.msgpack: lambda rows, plain: pack(rows),
}


def shown(value: Any) -> Any:
    """The JSON view (docs/bridge.md), written down once more."""
    match value:
        case bool() | None | str():
            return value
        case int():
            return value if abs(value) < SAFE else str(value)
        case float():
            return value if math.isfinite(value) else None
        case bytes():
            from base64 import b64encode

            return b64encode(value).decode()
        case dict():
            return {name: shown(inner) for name, inner in value.items()}
        case _:
            return [shown(inner) for inner in value]


def cell(value: Any) -> str:
    value = shown(value)
    if isinstance(value, (dict, list)):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def same(one: Any, other: Any) -> bool:
    """Equal, and of the same types; NaN is NaN."""
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(one[name], other[name]) for name in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return type(one) is type(other) and (repr(one) == repr(other) if isinstance(one, float) else one == other)


def columns_in(rows: list[Row]) -> list[str]:
    return list(dict.fromkeys(name for row in rows for name in row))


class Bench:
    """One plane and its loop, for many examples."""

    def __init__(self, settings: Settings, place: Path) -> None:
        self.runner = asyncio.Runner()
        self.place = place
        self._context = Plane.connect(settings)
        self.plane = self.runner.run(self._context.__aenter__())

    def close(self) -> None:
        self.runner.run(self._context.__aexit__(None, None, None))
        self.runner.close()

    def published(self, content: bytes, form: Format, *, text: bool = False) -> str:
        async def publish() -> str:
            rows = read_rows(io.BytesIO(content), form, text=text)
            return (await self.plane.publish(rows, uses="unlimited")).resource_url

        return self.runner.run(publish())

    def pulled(self, url: str, form: Format) -> bytes:
        file = self.place / f"out.{form}"
        order = PullOrder(url, None, None, None, None, str(file), False, lambda done, total: None)
        self.runner.run(pull_to_output(self.plane, order))
        return file.read_bytes()

    def check(self, rows: list[Row], form: Format, plain: bool) -> None:
        """JSON's and NDJSON's own floats and integers are what they were; nothing else changes on the way."""
        url = self.published(WRITERS[form](rows, plain), form)
        assert same(unpack(self.pulled(url, Format.msgpack)), rows)
        expected = [shown(row) for row in rows]
        assert same(json.loads(self.pulled(url, Format.json)), expected)
        lines = self.pulled(url, Format.ndjson).split(b"\n")
        assert same([json.loads(line) for line in lines if line], expected)
        names = columns_in(rows)
        table = [[cell(row.get(name)) for name in names] for row in rows]
        found = list(csv.reader(io.StringIO(self.pulled(url, Format.csv).decode(), newline=""), strict=True))
        assert [[cell_of(text) for text in line] for line in found] == [
            [cell_of(text) for text in line] for line in [names, *table]
        ]

    def check_csv(self, names: list[str], lines: list[list[str]], encoding: str) -> None:
        """A CSV comes back as it was: with --text word for word, else by values that say the same."""
        text = io.StringIO()
        csv.writer(text).writerows([names, *lines])
        content = text.getvalue().encode(encoding)
        as_text = self.pulled(self.published(content, Format.csv, text=True), Format.csv)
        assert not lines or as_text.decode() == text.getvalue()
        url = self.published(content, Format.csv)
        rows = json.loads(self.pulled(url, Format.json))
        assert len(rows) == len(lines)
        for row, line in zip(rows, lines, strict=True):
            for name, given_text in zip(names, line, strict=True):
                assert says(row[name], given_text), (row[name], given_text)
        for name in names:
            kinds = {type(row[name]) for row in unpack(self.pulled(url, Format.msgpack))}
            assert len(kinds - {type(None)}) <= 1
        again = self.published(self.pulled(url, Format.csv), Format.csv)
        assert not lines or same(json.loads(self.pulled(again, Format.json)), rows)


def cell_of(text: str) -> str:
    """Floats inside nested values and in cells are written by two writers with as many digits."""
    with suppress(ValueError):
        if "e" in text.lower() or "." in text:
            return repr(float(text))
        return text
    with suppress(ValueError):
        return repr(json.loads(text))
    return text


def says(value: Any, text: str) -> bool:
    match value:
        case None:
            return text == ""
        case bool():
            return text in (("true", "True", "TRUE") if value else ("false", "False", "FALSE"))
        case int():
            return str(value) == text
        case float():
            return Decimal(repr(value)) == Decimal(text)
        case _:
            return bool(value == text)


@pytest.fixture
def bench(settings: Settings, tmp_path: Path) -> Iterator[Bench]:
    made = Bench(settings, tmp_path)
    yield made
    made.close()


def fuzz(seconds: float, *checks: Callable[[], None]) -> None:
    """Run `checks`, each of a few examples, by turns for so long."""
    end = monotonic() + seconds
    while monotonic() < end:
        for check in checks:
            check()


SECONDS = [10.0 if IN_CI else 5.0, pytest.param(530.0, marks=pytest.mark.full)]
LINES = st.lists(NAMES, min_size=1, max_size=4, unique=True).flatmap(
    lambda names: st.tuples(
        st.just(names),
        st.lists(st.lists(TEXTS, min_size=len(names), max_size=len(names)), max_size=6)
        | st.lists(st.integers().map(lambda number: [str(number)] * len(names)), max_size=6)
        | st.lists(st.floats(width=32).map(lambda number: [repr(number)] * len(names)), max_size=6),
    )
)


@pytest.mark.parametrize("seconds", SECONDS)
def test_rows_survive_every_format(bench: Bench, seconds: float) -> None:
    quiet = rules(
        max_examples=examples(0.1),
        deadline=None,
        database=None,
        phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck),
    )

    @quiet
    @given(tables(VALUES), st.sampled_from([Format.json, Format.ndjson]), st.booleans())
    def texts(rows: list[Row], form: Format, plain: bool) -> None:
        bench.check(rows, form, plain)

    @quiet
    @given(tables(ANY))
    def packed(rows: list[Row]) -> None:
        bench.check(rows, Format.msgpack, plain=True)

    @quiet
    @given(LINES, st.sampled_from(["utf-8", "utf-8-sig", "utf-16"]))
    def tabled(table: tuple[list[str], list[list[str]]], encoding: str) -> None:
        bench.check_csv(*table, encoding)

    @quiet
    @given(
        st.binary(max_size=60) | st.text(alphabet='",;\t\r\n[]{}:1ae\\', max_size=40).map(str.encode),
        st.sampled_from([*WRITERS, Format.csv]),
    )
    def broken(content: bytes, form: Format) -> None:
        with suppress(BrokerPlaneError):
            bench.pulled(bench.published(content, form), Format.csv)

    fuzz(seconds, texts, packed, tabled, broken)
