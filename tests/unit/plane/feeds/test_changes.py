"""Changes between versions: by deltas, by comparison, with a subscriber's own rows, and the gaps in between."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import FeedGapError, FeedNotFoundError
from broker_plane.plane.feeds.access import changes_within, shown_notice
from broker_plane.plane.feeds.changes import (
    Changes,
    check_rows,
    compare_versions,
    compare_with_rows,
    delta_chain,
    feed_gap,
    from_delta,
    initial_changes,
    no_changes,
    version_deleted,
)
from broker_plane.tabular.delta import Delta
from tests.unit.plane.feeds.notices import notice, stored

Row = dict[str, Any]
ANN, BEN, CAT = ({"id": number, "name": name} for number, name in enumerate(("Ann", "Ben", "Cat")))


def told(changes: Changes) -> tuple[list[Row], list[Row], list[Row]]:
    return changes.added, changes.changed, changes.removed


@pytest.mark.parametrize(
    ("versions", "since", "chained"),
    [
        ([1, 2, 3, 4, 5], 2, [3, 4, 5]),
        ([2, 3, 4, 5], 2, [3, 4, 5]),
        ([3, 4, 5], 2, [3, 4, 5]),  # version 2 itself is not needed
        ([4, 5], 2, []),  # the delta of version 3 was deleted
        ([3, 5], 2, []),
        ([3, 4], 2, []),
        ([3, 4, 5, 6], 2, [3, 4, 5]),
        ([], 2, []),
    ],
)
def test_a_chain_of_deltas_has_no_gap(versions: list[int], since: int, chained: list[int]) -> None:
    found = delta_chain([notice(version) for version in versions], notice(5), since)
    assert [each.version for each in found] == chained


@pytest.mark.parametrize("broken", [{"delta": None}, {"key": ("mail",)}])
def test_a_version_without_a_delta_or_with_another_key_breaks_the_chain(broken: dict[str, Any]) -> None:
    assert delta_chain([notice(3), notice(4, **broken), notice(5)], notice(5), 2) == []


@pytest.mark.parametrize(
    ("old", "new", "added", "changed", "removed"),
    [
        ([], [ANN], [ANN], [], []),
        ([ANN], [ANN], [], [], []),
        ([ANN, BEN], [BEN, ANN], [], [], []),
        ([ANN], [], [], [], [{"id": 0}]),
        ([ANN, BEN], [ANN, CAT], [CAT], [], [{"id": 1}]),
        ([ANN], [{"id": 0, "name": "Eve"}], [], [{"id": 0, "name": "Eve"}], []),
        ([ANN], [{"id": 0}], [], [{"id": 0, "name": None}], []),
        ([ANN], [{"id": 0, "name": "Ann", "city": "Oslo"}], [], [{"id": 0, "city": "Oslo"}], []),
    ],
)
def test_two_versions_are_compared_by_key(
    old: list[Row], new: list[Row], added: list[Row], changed: list[Row], removed: list[Row]
) -> None:
    changes = compare_versions(notice(2), new, 1, old, ("id",))
    assert told(changes) == (added, changed, removed)
    assert (changes.since, changes.version, changes.whole, changes.rekeyed) == (1, 2, True, None)
    table: dict[Any, Row] = {(row["id"],): dict(row) for row in old}
    changes.apply(table)
    once = dict(table)
    changes.apply(table)
    assert table == once, "not idempotent"
    assert table.keys() == {(row["id"],) for row in new}


def test_without_a_key_a_row_is_removed_and_added_but_never_changed() -> None:
    changes = compare_versions(notice(2, key=()), [ANN, CAT], 1, [ANN, BEN], ())
    assert told(changes) == ([CAT], [], [BEN])


def test_with_another_key_than_before_rows_are_matched_by_the_new_one() -> None:
    old = [{"id": 1, "mail": "a"}, {"id": 2, "mail": "b"}]
    new = [{"id": 8, "mail": "a"}, {"id": 9, "mail": "c"}]
    changes = compare_versions(notice(2, key=("mail",)), new, 1, old, ("id",))
    assert told(changes) == ([{"id": 9, "mail": "c"}], [{"id": 8, "mail": "a"}], [{"mail": "b"}])
    assert changes.rekeyed == ("mail",)
    table: dict[Any, Row] = {(row["id"],): dict(row) for row in old}
    changes.apply(table)
    assert table == {(row["mail"],): row for row in new}


def test_from_nothing_all_rows_are_added_and_replace_what_a_table_had() -> None:
    changes = initial_changes(notice(3), [ANN, BEN])
    assert told(changes) == ([ANN, BEN], [], [])
    table: dict[Any, Row] = {(7,): CAT}
    changes.apply(table)
    assert table == {(0,): ANN, (1,): BEN}


def test_changes_since_this_or_a_later_version_are_empty() -> None:
    for since in (3, 4):
        changes = no_changes(notice(3), since)
        assert (told(changes), changes.since, changes.whole) == (([], [], []), since, False)


@pytest.mark.parametrize("had", [[{"id": 0, "name": "Ann"}], {(0,): {"id": 0, "name": "Ann"}}, [{"id": 0}]])
def test_rows_of_a_subscriber_are_compared_in_the_columns_that_it_stores(had: Any) -> None:
    new = [{"id": 0, "name": "Ann", "city": "Oslo"}, {"id": 1, "name": "Ben", "city": "Rome"}]
    changes = compare_with_rows(notice(9), new, 1, had)
    assert told(changes) == ([new[1]], [], []), "added rows are complete"


def test_rows_of_a_subscriber_have_none_for_what_is_absent() -> None:
    changes = compare_with_rows(notice(9), [{"id": 0}], 1, [{"id": 0, "name": None}])
    assert told(changes) == ([], [], [])


def test_a_subscriber_without_rows_is_given_all() -> None:
    assert told(compare_with_rows(notice(9), [ANN], 1, [])) == ([ANN], [], [])


def test_a_gap_says_how_to_go_on() -> None:
    error = feed_gap(notice(9), 2)
    assert isinstance(error, FeedGapError)
    assert "message.changes(2, had=rows)" in str(error)
    assert isinstance(version_deleted(notice(9)), FeedNotFoundError)


def test_an_opaque_version_has_no_changes() -> None:
    check_rows(notice(1))
    with pytest.raises(FeedNotFoundError, match="opaque"):
        check_rows(notice(1, body=stored(kind="bytes")))


DELTA = Delta(
    added={(0,): {"id": 0, "name": "Ann", "secret": "s"}},
    changed={(1,): {"id": 1, "secret": "t"}, (2,): {"id": 2, "name": "Cat"}, (3,): {"id": 3}},
    removed={(4,): {"id": 4}},
    gone={(1,): ("secret",), (3,): ("name", "secret")},
)


def test_a_grant_that_hides_a_column_hides_its_changes() -> None:
    shown = changes_within(from_delta(notice(2), 1, DELTA), frozenset(("id", "name")))
    assert told(shown) == (
        [{"id": 0, "name": "Ann"}],
        [{"id": 2, "name": "Cat"}, {"id": 3, "name": None}],
        [{"id": 4}],
    )
    assert "secret" not in repr(shown.delta)


def test_a_grant_that_shows_all_columns_shows_all_changes() -> None:
    changes = from_delta(notice(2), 1, DELTA)
    assert changes_within(changes, None) is changes


def test_a_notice_within_a_scope_has_no_count_size_or_digest() -> None:
    fields = shown_notice(notice(2, columns={"id": ("int",), "secret": ("str",)}), ["id"], whole=False)
    assert fields["columns"] == ["id"]
    assert not {"rows", "size", "digest", "delta", "body_id"} & fields.keys()
    assert shown_notice(notice(2), None, whole=True) == notice(2).to_wire()
