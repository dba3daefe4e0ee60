"""JSON values, tables and patches for hypothesis: small ones, so that places meet."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hypothesis import strategies as st

from broker_plane.errors import ChangeError
from broker_plane.sessions.json_patch import Patch, parse_and_apply, pointer

SCALARS = st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([1.5, 1.0, "", "é🌴"])
NAMES = st.sampled_from(["a", "b", "0", "~/"])
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=8
)
OBJECTS = st.dictionaries(NAMES, VALUES, max_size=4)
ROWS = st.lists(st.dictionaries(NAMES, SCALARS, max_size=3), max_size=5)


def places(value: Any, parts: tuple[str, ...] = ()) -> Iterator[str]:
    """The pointers of a value, and those of members and positions that could be added."""
    yield pointer(parts)
    if isinstance(value, dict):
        for name, each in value.items():
            yield from places(each, (*parts, name))
        yield pointer((*parts, "new"))
    if isinstance(value, list):
        for index, each in enumerate(value):
            yield from places(each, (*parts, str(index)))
        yield pointer((*parts, "-"))


@st.composite
def patches(draw: st.DrawFn, document: Any, most: int = 3) -> tuple[Patch, Any]:
    """A patch in normal form of a document, and the document after it."""
    patch: Patch = []
    for _ in range(draw(st.integers(1, most))):
        where = st.sampled_from(list(places(document)))
        operation: dict[str, Any] = {
            "op": draw(st.sampled_from(["add", "remove", "replace", "move", "copy"])),
            "path": draw(where),
        }
        operation |= {"from": draw(where)} if operation["op"] in ("move", "copy") else {"value": draw(VALUES)}
        try:
            normal, document = parse_and_apply([operation], document)
        except ChangeError:
            continue
        patch += normal
    return patch, document
