"""The table of what a request gets: view, media type, coding, and whether the stored bytes are sent as they are."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker_plane.bridge.representation import S2SP, SAFE_CSV, Representation, represent
from broker_plane.errors import NotAcceptableError
from broker_plane.plane.bodies.scope import ScopedBody
from broker_plane.tabular.views import VIEWS
from broker_plane.wire.body import BYTES_TYPE, ROWS_TYPE
from broker_plane.wire.scope import EVERYTHING, Scope
from broker_plane.wire.selector import WHOLE, Selector
from tests.unit.memory import NOW, Memory

ROWS = [{"event": f"e{index}", "severity": index % 4} for index in range(200)]
ONE_COLUMN = Selector(columns=("event",))
JSON, CSV = "application/json", "text/csv; charset=utf-8; header=present"


def body_of(scope: Scope = EVERYTHING, **changes: Any) -> ScopedBody:
    body = msgspec.structs.replace(Memory(ROWS).body, **changes)
    return ScopedBody(body, body, scope)


def opaque(media_type: str, **changes: Any) -> ScopedBody:
    return body_of(kind="bytes", media_type=media_type, columns=(), rows=None, table=None, **changes)


def shown(body: ScopedBody, accept: str | None = None, coding: str | None = None, **options: Any) -> Representation:
    headers = {name: value for name, value in (("accept", accept), ("accept-encoding", coding)) if value is not None}
    selector = options.pop("selector", WHOLE)
    return represent(body, selector, headers, posted=options.pop("posted", False), now=NOW, **options)


@pytest.mark.parametrize(
    ("accept", "posted", "view", "media_type"),
    [
        (None, False, JSON, JSON),
        ("*/*", False, JSON, JSON),
        ("application/*", False, JSON, JSON),
        ("text/csv", False, "text/csv", CSV),
        ("text/*", False, "text/csv", CSV),
        ("text/csv;q=0.5, application/json;q=0.4", False, "text/csv", CSV),
        ("text/csv;q=0, */*", False, JSON, JSON),
        (ROWS_TYPE, False, ROWS_TYPE, ROWS_TYPE),
        ("application/x-ndjson", False, "application/x-ndjson", "application/x-ndjson"),
        ("application/msgpack", False, "application/msgpack", "application/msgpack"),
        (None, True, S2SP, JSON),
        ("application/json", True, S2SP, JSON),
        ("text/csv", True, "text/csv", CSV),
        (ROWS_TYPE, True, ROWS_TYPE, ROWS_TYPE),
    ],
)
def test_the_view_of_rows_is_the_most_preferred_one_or_json(
    accept: str | None, posted: bool, view: str, media_type: str
) -> None:
    found = shown(body_of(), accept, posted=posted)
    assert (found.view, found.media_type) == (view, media_type)


@pytest.mark.parametrize("accept", ["image/png", "application/json;q=0", "*/*;q=0"])
def test_a_view_that_does_not_exist_is_refused(accept: str) -> None:
    with pytest.raises(NotAcceptableError):
        shown(body_of(), accept)


@pytest.mark.parametrize(
    ("accept", "selector", "stored"),
    [(ROWS_TYPE, WHOLE, True), (ROWS_TYPE, ONE_COLUMN, False), (JSON, WHOLE, False), ("text/csv", WHOLE, False)],
)
def test_stored_bytes_are_sent_only_of_a_whole_body_in_its_own_encoding(
    accept: str, selector: Selector, stored: bool
) -> None:
    found = shown(body_of(), accept, selector=selector)
    assert found.stored == stored
    names = dict(found.all_headers())
    assert ("repr-digest" in names, names["accept-ranges"]) == (stored, "bytes" if stored else "none")


def test_a_narrowed_body_never_sends_its_stored_bytes_or_their_digest() -> None:
    body = Memory(ROWS).body
    narrow = Scope(columns=("event",))
    found = shown(ScopedBody(body, body, narrow), ROWS_TYPE)
    assert not found.stored
    assert "repr-digest" not in dict(found.all_headers())


@pytest.mark.parametrize(
    ("coding", "accept", "found"),
    [
        (None, JSON, "identity"),
        ("gzip", JSON, "gzip"),
        ("zstd, gzip;q=0.5", JSON, "zstd"),
        ("gzip;q=0", JSON, "identity"),
        ("br", JSON, "identity"),
        ("gzip", ROWS_TYPE, "identity"),
    ],
)
def test_generated_views_are_compressed_on_request_and_stored_bytes_are_not(
    coding: str | None, accept: str, found: str
) -> None:
    assert shown(body_of(), accept, coding).coding == found


def test_a_small_body_is_not_compressed_unless_identity_is_refused() -> None:
    assert shown(body_of(size=100), JSON, "gzip").coding == "identity"
    assert shown(body_of(size=100), JSON, "gzip, identity;q=0").coding == "gzip"


@pytest.mark.parametrize(
    ("media_type", "accept", "found"),
    [
        ("application/pdf", None, "application/pdf"),
        ("application/pdf", BYTES_TYPE, BYTES_TYPE),
        ("text/plain; charset=utf-8", "text/*", "text/plain; charset=utf-8"),
        (BYTES_TYPE, "*/*", BYTES_TYPE),
        ("text/html\r\nset-cookie: a=b", None, BYTES_TYPE),
        ("no type", None, BYTES_TYPE),
    ],
)
def test_an_opaque_body_has_its_own_type_if_that_is_valid_in_a_header(
    media_type: str, accept: str | None, found: str
) -> None:
    answer = shown(opaque(media_type), accept)
    assert (answer.media_type, answer.stored) == (found, True)
    assert dict(answer.all_headers())["content-disposition"].startswith("attachment")


def test_safe_csv_is_another_view_of_csv_and_of_nothing_else() -> None:
    assert shown(body_of(), "text/csv", safe_csv=True).view == SAFE_CSV
    assert shown(body_of(), JSON, safe_csv=True).view == JSON
    assert shown(opaque("text/csv"), "text/csv", safe_csv=True).view == "text/csv"


def test_a_grant_with_formats_offers_these_alone() -> None:
    only = Scope(formats=("text/csv",))
    assert shown(body_of(only)).view == "text/csv"
    with pytest.raises(NotAcceptableError, match="text/csv"):
        shown(body_of(only), JSON)
    with pytest.raises(NotAcceptableError, match="image/png"):
        shown(body_of(Scope(formats=("image/png",))))


def test_every_difference_in_the_bytes_is_another_entity_tag() -> None:
    body = body_of()
    every = [shown(body, accept, coding) for accept in VIEWS for coding in (None, "gzip", "zstd")]
    every += [shown(body, JSON, selector=ONE_COLUMN), shown(body, "text/csv", safe_csv=True), shown(body, posted=True)]
    kinds = {(each.view, each.coding, each.selector) for each in every}
    assert len({each.etag for each in every}) == len(kinds)
    again = [shown(body, accept) for accept in VIEWS]
    assert [each.etag for each in again] == [each.etag for each in every[::3][: len(again)]]


def test_last_modified_is_never_in_the_future() -> None:
    assert shown(body_of(created=NOW + 500)).modified == int(NOW)
    assert shown(body_of(created=NOW - 500)).modified == int(NOW) - 500
