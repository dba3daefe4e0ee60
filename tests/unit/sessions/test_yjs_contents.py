"""Whether an update can be applied in full, decided from its structs."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ChangeError
from broker_plane.sessions.replicas.yjs_contents import Contents
from broker_plane.wire.yjs_updates import Deletion, Struct, Update


def text(client: int, clock: int, content: str, **where: Any) -> Struct:
    return Struct(client, clock, len(content.encode("utf-16-le")) // 2, "string", content, **where)


def update(*structs: Struct, deletes: tuple[Deletion, ...] = ()) -> Update:
    return Update(structs, deletes)


def known() -> Contents:
    """A document with "a🌴b" of client 1: clocks 0 to 3, of which 1 and 2 are one character."""
    contents = Contents()
    contents.add(update(text(1, 0, "a🌴b", root="artifact")))
    return contents


@pytest.mark.parametrize(
    "change",
    [
        update(text(2, 0, "x", origin=(1, 0), right_origin=(1, 1))),
        update(text(2, 0, "x", origin=(1, 2))),
        update(deletes=(Deletion(1, 1, 2),)),
        update(text(1, 0, "a🌴b", root="artifact")),  # known
        update(text(1, 2, "xy", origin=(1, 1))),  # known
        update(text(2, 0, "x", origin=(3, 0)), text(3, 0, "y", origin=(1, 3)), text(3, 1, "z", origin=(2, 0))),
        update(Struct(2, 0, 3, "gc"), text(2, 3, "x", origin=(2, 2))),
        update(text(2, 0, "🌴", origin=(1, 3)), deletes=(Deletion(2, 0, 2),)),
    ],
)
def test_an_update_that_finds_what_it_depends_on_is_accepted(change: Update) -> None:
    known().check(change)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (update(text(1, 5, "x", origin=(1, 3))), "depends on changes"),
        (update(text(2, 0, "x", origin=(1, 4))), "depends on changes"),
        (update(text(2, 0, "x", right_origin=(9, 0))), "depends on changes"),
        (update(text(2, 0, "x", parent=(9, 0))), "depends on changes"),
        (update(deletes=(Deletion(1, 3, 2),)), "depends on changes"),
        (update(deletes=(Deletion(9, 0, 1),)), "depends on changes"),
        (update(Struct(2, 0, 2, "skip"), text(2, 2, "x", origin=(1, 0))), "depends on changes"),
        (update(text(2, 0, "x", origin=(3, 0)), text(3, 0, "y", origin=(2, 0))), "depends on changes"),
        (update(text(2, 0, "x", origin=(2, 0))), "depends on a later one"),
        (update(text(2, 0, "x", root="a"), text(3, 0, "x", root="a"), text(2, 1, "x", root="a")), "two places"),
        (update(text(2, 0, "x", origin=(1, 1), right_origin=(1, 2))), "halves"),
        (update(text(2, 0, "x", origin=(1, 1))), "halves"),
        (update(text(2, 0, "x", right_origin=(1, 2))), "halves"),
        (update(deletes=(Deletion(1, 0, 2),)), "halves"),
        (update(deletes=(Deletion(1, 2, 1),)), "halves"),
        (update(text(2, 0, "🌴", root="a"), deletes=(Deletion(2, 1, 1),)), "halves"),
    ],
)
def test_an_update_that_would_stay_pending_or_cut_a_character_is_refused(change: Update, says: str) -> None:
    with pytest.raises(ChangeError, match=says):
        known().check(change)


def test_a_copy_goes_its_own_way() -> None:
    contents = known()
    contents.copy().add(update(text(2, 0, "🌴", root="artifact")))
    assert contents.clock(2) == 0
    contents.check(update(text(2, 0, "x", root="artifact"), text(2, 1, "y", origin=(2, 0))))
