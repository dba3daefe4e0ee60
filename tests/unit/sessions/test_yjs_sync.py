"""A document at one revision: what a client lacks, and what a client has that the document lacks."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycrdt import Doc, Text, get_state

from broker_plane.errors import ChangeError, WireError
from broker_plane.sessions.replicas.yjs_sync import EMPTY_UPDATE, SyncPoint, merged


def document(text: str = "Grüße, 🌴!") -> Doc[Text]:
    doc: Doc[Text] = Doc()
    content = doc.get("artifact", type=Text)
    content += text
    del content[0:2]
    return doc


def test_a_client_gets_exactly_what_it_lacks() -> None:
    doc = document()
    point = SyncPoint(doc.get_update())
    client: Doc[Text] = Doc()
    client.apply_update(point.missing(client.get_state()))
    assert str(client.get("artifact", type=Text)) == str(doc.get("artifact", type=Text))
    assert get_state(point.missing(b"\x00")) == point.state_vector == doc.get_state()


def test_what_several_clients_lack_is_encoded_once() -> None:
    doc = document()
    point = SyncPoint(doc.get_update())
    empty: Doc[Text] = Doc()
    assert point.known(empty.get_state()) is point.missing(b"\x00") is point.packed
    assert point.known(document("unknown").get_state()) is point.packed, "nothing of it is here"
    state = doc.get_state()
    assert point.known(state) is None
    assert point.missing(state) is point.known(state)
    assert get_state(point.missing(state)) == get_state(EMPTY_UPDATE)
    content = doc.get("artifact", type=Text)
    content += "later"
    assert point.known(doc.get_state()) is point.known(state), "it has all of it and more"


def test_what_a_document_has_is_no_news_although_clients_send_all_deletions() -> None:
    doc = document()
    point = SyncPoint(doc.get_update())
    assert point.news(doc.get_update(doc.get_state())) == b""
    assert point.news(doc.get_update()) == b""


def test_news_are_only_the_part_that_is_new() -> None:
    doc = document()
    point = SyncPoint(doc.get_update())
    state = doc.get_state()
    content = doc.get("artifact", type=Text)
    content += "🎈"
    whole = doc.get_update()
    for _ in range(2):
        news = point.news(whole)
        assert news == doc.get_update(state)[: len(news) - 1] + b"\x00" and len(news) < len(whole)


@given(st.binary(max_size=40))
def test_any_bytes_are_refused_or_taken(raw: bytes) -> None:
    point = SyncPoint(document().get_update())
    for call, error in ((point.news, ChangeError), (point.missing, WireError)):
        with suppress(error):
            call(raw)


def test_merged_updates_do_what_they_did_one_by_one() -> None:
    doc: Doc[Text] = Doc()
    content = doc.get("artifact", type=Text)
    updates = []
    for piece in ("a", "🌴", "c"):
        state = doc.get_state()
        content += piece
        updates.append(doc.get_update(state))
    other: Doc[Text] = Doc()
    other.apply_update(merged(updates))
    assert str(other.get("artifact", type=Text)) == "a🌴c"
    with pytest.raises(ChangeError):
        merged([updates[0], b"\xff"])
