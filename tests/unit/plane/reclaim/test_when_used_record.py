"""A body is freed after the last of its grants and never before, whatever is marked, how often and in which order."""

from __future__ import annotations

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker_plane.errors import BodyNotFoundError, GrantRefusedError, TooLargeError
from broker_plane.plane.reclaim.when_used_record import (
    MOST_GRANTS,
    UseRecord,
    grant_ids,
    new_use_record,
    unpack_use_record,
    with_done,
    with_grants,
)

NEW = new_use_record("local", 100, bytes(range(16)))


@given(st.lists(st.integers(1, 20), min_size=1, max_size=5), st.randoms(use_true_random=False))
def test_it_is_freed_by_the_last_grant_of_all_groups(groups: list[int], random: Random) -> None:
    record, ids = NEW, []
    for count in groups:
        record = with_grants(record, count, unlimited=False)
        ids += grant_ids(record, count)
    assert len(set(ids)) == sum(groups)
    marks = ids[:-1] * 2
    random.shuffle(marks)
    for mark in marks:
        record = unpack_use_record(with_done(record, [mark]).pack())
        assert not record.freed
    assert with_done(record, ids[-1:]).freed


def test_a_grant_of_unlimited_use_keeps_the_body() -> None:
    record = with_grants(with_grants(NEW, 1, unlimited=True), 1, unlimited=False)
    assert not with_done(record, grant_ids(record, 2)).freed


def test_a_body_without_grants_stays() -> None:
    assert not with_done(NEW, [bytes(16)]).freed


def test_ids_of_other_bodies_and_places_that_were_never_given_mark_nothing() -> None:
    record = with_grants(NEW, 1, unlimited=False)
    foreign = with_grants(new_use_record("local", 100, b"other body's rnd"), 1, unlimited=False)
    later = grant_ids(with_grants(record, 1, unlimited=False), 1)
    assert with_done(record, [*grant_ids(foreign, 1), *later]) == record


def test_a_freed_body_gets_no_further_grant() -> None:
    record = with_grants(NEW, 1, unlimited=False)
    with pytest.raises(BodyNotFoundError, match="deleted"):
        with_grants(with_done(record, grant_ids(record, 1)), 1, unlimited=False)


def test_a_body_has_at_most_so_many_grants() -> None:
    with pytest.raises(TooLargeError):
        with_grants(with_grants(NEW, MOST_GRANTS, unlimited=False), 1, unlimited=False)


def test_a_record_of_a_later_version_frees_nothing() -> None:
    assert isinstance(unpack_use_record(NEW.pack()), UseRecord)
    with pytest.raises(GrantRefusedError):
        unpack_use_record(b"\x92\x63\x00")
