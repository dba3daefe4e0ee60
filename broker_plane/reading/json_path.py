"""A part of RFC 9535 (JSONPath): names, indexes, slices and wildcards. Pure.

Filters, functions, descendants (`..`), lists of selectors and slices that go backwards are left out, so a path does not
look at anything twice.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice

import orjson

from broker_plane.errors import WireError
from broker_plane.reading.json_scan import JsonPart, items, kind_of, member, members
from broker_plane.wire.urls import quoted

_MOST_STEPS = 32
_MOST_BACK = 100_000
"""The largest negative index: that many values are remembered."""

_QUOTED = r"\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'"
_NUMBER = r"-?\d{1,15}"
_STEP = re.compile(
    rf"\.\s*(?:(?P<star>\*)|(?P<name>[^\W\d][\w-]*))|\[\s*(?:(?P<every>\*)|(?P<quoted>{_QUOTED})"
    rf"|(?P<slice>(?P<start>{_NUMBER})?\s*:\s*(?P<stop>{_NUMBER})?\s*(?::\s*(?P<by>\d{{1,15}})?)?)"
    rf"|(?P<index>{_NUMBER}))\s*\]"
)


@dataclass(frozen=True, slots=True)
class Every:
    """Every member: `*`."""


@dataclass(frozen=True, slots=True)
class Slice:
    """`[start:stop:step]`, as Python's; the step is at least 1."""

    start: int | None
    stop: int | None
    step: int


Step = str | int | Every | Slice
Tick = Callable[[], None]
"""Called for each value that is looked at; it raises to end a search."""


@dataclass(frozen=True, slots=True)
class JsonPath:
    """A parsed path. The values that a step selects do not overlap, so the work is at most steps times size."""

    steps: tuple[Step, ...]

    @property
    def single(self) -> bool:
        """Whether it can select at most one value."""
        return all(isinstance(step, str | int) for step in self.steps)

    def select(self, whole: JsonPart, tick: Tick) -> Iterator[JsonPart]:
        """The values that the path selects in `whole`, in the order of RFC 9535."""
        found: Iterable[JsonPart] = iter([whole])
        for step in self.steps:
            found = _stepped(found, step, tick)
        return iter(found)


def parse_json_path(text: str) -> JsonPath:
    """The path that `text` spells; `$` at its beginning may be missing.

    Raises:
        WireError: it is malformed, or uses what is left out here.
    """
    rest = text.strip()
    rest = rest[1:] if rest.startswith("$") else rest if rest.startswith((".", "[")) else f".{rest}"
    rest = "" if text.strip() in ("", ".") else rest
    steps: list[Step] = []
    place = 0
    while place < len(rest):
        found = _STEP.match(rest, place)
        if found is None or len(steps) == _MOST_STEPS:
            raise _wrong(text)
        steps.append(_step(text, found))
        place = found.end()
    return JsonPath(tuple(steps))


def _step(text: str, found: re.Match[str]) -> Step:
    if found["star"] or found["every"]:
        return Every()
    if found["name"]:
        return found["name"]
    if found["quoted"]:
        return _name(text, found["quoted"])
    if found["slice"] is not None:
        by = 1 if found["by"] is None else int(found["by"])
        if not by:
            raise _wrong(text)
        return Slice(_number(text, found["start"]), _number(text, found["stop"]), by)
    return _number(text, found["index"]) or 0


def _name(text: str, quoted_name: str) -> str:
    if quoted_name[0] == "'":
        inner = re.sub(r"\\'", "'", quoted_name[1:-1])
        quoted_name = '"' + re.sub(r'(?<!\\)"', r"\"", inner) + '"'
    try:
        return str(orjson.loads(quoted_name))
    except orjson.JSONDecodeError as error:
        raise _wrong(text) from error


def _number(text: str, digits: str | None) -> int | None:
    if digits is None:
        return None
    if int(digits) < -_MOST_BACK:
        raise WireError(f"json_path {quoted(text[:80])}: an index from the end is at most {_MOST_BACK:,}")
    return int(digits)


def _stepped(values: Iterable[JsonPart], step: Step, tick: Tick) -> Iterator[JsonPart]:
    for value in values:
        kind = kind_of(value)
        found = _of_object(value, step) if kind == "object" else _of_array(value, step, tick)
        for selected in found if kind in ("object", "array") else ():
            tick()
            yield selected


def _of_object(value: JsonPart, step: Step) -> Iterator[JsonPart]:
    if isinstance(step, Every):
        yield from (each for _, each in members(value))
    elif isinstance(step, str):
        found = member(value, step)
        if found is not None:
            yield found


def _of_array(value: JsonPart, step: Step, tick: Tick) -> Iterator[JsonPart]:
    if isinstance(step, Every):
        yield from items(value)
    elif isinstance(step, Slice):
        start, stop = step.start, step.stop
        if (start or 0) < 0 or (stop or 0) < 0:
            count = sum(1 for _ in _ticked(items(value), tick))
            start, stop, _ = slice(start, stop).indices(count)
        yield from islice(_ticked(items(value), tick), start, stop, step.step)
    elif isinstance(step, int):
        if step >= 0:
            yield from islice(_ticked(items(value), tick), step, step + 1)
        else:
            last = deque(_ticked(items(value), tick), maxlen=-step)
            if len(last) == -step:
                yield last[0]


def _ticked(values: Iterator[JsonPart], tick: Tick) -> Iterator[JsonPart]:
    for value in values:
        tick()
        yield value


def _wrong(text: str) -> WireError:
    return WireError(
        "json_path has names, indexes, slices and *, such as $.items[0:5].name or $['a b'][*]; no filters, lists and "
        f"'..'. {quoted(text[:80])} is not such a path"
    )
