"""Feeds on the wire: names, notices and their ids."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker_plane.errors import WireError
from broker_plane.wire.feeds import column_names, feed_id, key_names, parse_feed, parse_notice
from tests.unit.plane.feeds.notices import notice, stored


@pytest.mark.parametrize("name", ["a", "crm.contacts", "a.b.c.d", "0_-", "x" * 64])
def test_a_name_has_one_to_four_words(name: str) -> None:
    assert parse_feed(name) == name


@pytest.mark.parametrize("name", ["", "A", "a.", ".a", "a..b", "a.b.c.d.e", "a b", "a*", "x" * 65, "a\n", "ä"])
def test_another_name_is_invalid(name: str) -> None:
    with pytest.raises(WireError, match="Invalid feed name"):
        parse_feed(name)


def test_a_notice_comes_back_with_the_sequence_of_its_message() -> None:
    body = stored(3, kind="bytes", digest="0" * 64, chunks=1, chunk_bytes=1 << 19)
    one = notice(3, body=body, delta=None, columns={"id": ("int",)})
    assert parse_notice(one.pack(), 57) == msgspec.structs.replace(one, sequence=57)
    assert b"sequence" not in one.pack()


def test_a_version_has_a_body_and_perhaps_a_delta() -> None:
    assert (notice(3).size, [body.size for body in notice(3).bodies()]) == (110, [100, 10])
    assert (notice(3, delta=None).size, len(notice(3, delta=None).bodies())) == (100, 1)


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"\xff", b'{"feed": "a"}', b"[" * 10_000])
def test_another_message_is_not_a_notice(raw: bytes) -> None:
    with pytest.raises(WireError, match="not a notice"):
        parse_notice(raw, 1)


@pytest.mark.parametrize(("key", "names"), [(None, ()), ("id", ("id",)), (["id", "part"], ("id", "part")), ((), ())])
def test_a_key_is_a_column_or_a_list_of_columns(key: Any, names: tuple[str, ...]) -> None:
    assert key_names(key) == names


@pytest.mark.parametrize("columns", ["id", ["id", "id"], [1]])
def test_columns_are_a_list_of_different_names(columns: Any) -> None:
    with pytest.raises(WireError):
        column_names(columns)
    assert column_names(["id", "mail"]) == ("id", "mail")


def test_a_feeds_id_depends_on_its_name_only() -> None:
    assert feed_id("crm.contacts") == feed_id("crm.contacts") != feed_id("crm.contact")
