"""The data route over a real nats-server: representations, selectors, conditions and ranges."""

from __future__ import annotations

import csv
import io
import json
from base64 import b64encode
from datetime import UTC, datetime
from decimal import Decimal
from hashlib import sha256
from random import Random
from time import time
from typing import Any

import msgpack
import pytest

from broker_plane.tabular.codec import FrameReader
from broker_plane.web.dates import parse_date
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.selector import WHOLE
from tests.bridge.bodies import ROWS, Bridge

pytestmark = pytest.mark.anyio

WITH_IDS = [{"_row_id": place, **row} for place, row in enumerate(ROWS)]
LARGE_ROWS = [{"n": place, "text": f"row {place} " * 20} for place in range(20_000)]
BYTES = Random(1).randbytes(3_000_000)


def problem(body: bytes) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads(body)
    assert fields["error"] == fields["detail"]
    return fields


# ── representations ───────────────────────────────────────────────────────────────────────────────────────


async def test_get_is_the_rows_as_json(bridge: Bridge) -> None:
    answer = await bridge.get(await bridge.publish(ROWS))
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["content-length"] == str(len(answer.content))
    assert answer.headers["accept-ranges"] == "none"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["bp-rows"] == "3"
    assert answer.json() == ROWS


async def test_accept_chooses_the_view(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    assert msgpack.unpackb((await bridge.get(published, accept="application/msgpack")).content) == ROWS
    lines = (await bridge.get(published, accept="application/x-ndjson")).text.splitlines()
    assert [json.loads(line) for line in lines] == ROWS
    table = (await bridge.get(published, accept="text/csv")).text
    assert [row["event"] for row in csv.DictReader(io.StringIO(table))] == ["Flood", "Wind", "Heat"]
    refused = await bridge.get(published, accept="text/html")
    assert refused.status_code == 406
    assert problem(refused.content)["code"] == "not_acceptable"


async def test_the_stored_bytes_have_a_digest_and_are_rows_to_our_reader(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    answer = await bridge.get(published, accept=ROWS_TYPE)
    digest = sha256(answer.content).digest()
    assert answer.headers["repr-digest"] == f"sha-256=:{b64encode(digest).decode()}:"
    assert digest.hex() == published.body.digest
    rows = [row for frame in FrameReader().feed(answer.content) for row in frame.decode(WHOLE).rows()]
    assert rows == ROWS


async def test_the_stored_encoding_of_a_selection_is_rows_to_our_reader(bridge: Bridge) -> None:
    answer = await bridge.get(await bridge.publish(ROWS), "?columns=event&row_ids=0,2", accept=ROWS_TYPE)
    assert "repr-digest" not in answer.headers
    rows = [row for frame in FrameReader().feed(answer.content) for row in frame.decode(WHOLE).rows(with_ids=True)]
    assert rows == [{"_row_id": 0, "event": "Flood"}, {"_row_id": 2, "event": "Heat"}]


async def test_an_opaque_body_is_its_own_type_and_never_runs_in_a_browser(bridge: Bridge) -> None:
    published = await bridge.publish(b"<script>", media_type="text/html", name='a "b"/é.html')
    answer = await bridge.get(published)
    assert (answer.headers["content-type"], answer.content) == ("text/html", b"<script>")
    assert answer.headers["content-disposition"].startswith('attachment; filename="a _b___.html"')
    assert answer.headers["content-security-policy"].startswith("sandbox")
    plain = await bridge.get(published, accept="application/octet-stream")
    assert plain.headers["content-type"] == "application/octet-stream"
    assert (await bridge.get(published, accept="text/csv")).status_code == 406


@pytest.mark.parametrize("media_type", ["text/plain\r\nx: y", "none", "text/\u20ac", "text/plain; a=\x00"])
async def test_a_type_that_cannot_stand_in_a_header_is_just_bytes(bridge: Bridge, media_type: str) -> None:
    answer = await bridge.get(await bridge.publish(b"abc", media_type=media_type))
    assert (answer.status_code, answer.headers["content-type"]) == (200, "application/octet-stream")
    assert "x" not in answer.headers


async def test_a_large_view_is_streamed_and_whole(bridge: Bridge) -> None:
    answer = await bridge.get(await bridge.publish(LARGE_ROWS))
    assert answer.headers["transfer-encoding"] == "chunked"
    assert answer.json() == LARGE_ROWS


@pytest.mark.parametrize("coding", ["gzip", "zstd"])
@pytest.mark.parametrize("rows", [LARGE_ROWS[:500], LARGE_ROWS], ids=["gathered", "streamed"])
async def test_a_view_comes_in_the_coding_that_is_accepted(bridge: Bridge, coding: str, rows: list[Any]) -> None:
    published = await bridge.publish(rows)
    plain, packed = await bridge.get(published), await bridge.get(published, accept_encoding=coding)
    assert packed.headers["content-encoding"] == coding
    assert packed.json() == rows
    assert packed.headers["etag"] != plain.headers["etag"]
    assert "accept-encoding" in packed.headers["vary"].lower()


async def test_small_views_and_stored_bytes_are_not_coded(bridge: Bridge) -> None:
    assert "content-encoding" not in (await bridge.get(await bridge.publish(ROWS), accept_encoding="gzip")).headers
    published = await bridge.publish(BYTES)
    assert "content-encoding" not in (await bridge.get(published, accept_encoding="gzip")).headers
    assert (await bridge.get(published, accept_encoding="identity;q=0, gzip")).status_code == 406


async def test_no_type_that_json_lacks_is_an_error(bridge: Bridge) -> None:
    row = {
        "at": datetime(2026, 1, 2, tzinfo=UTC),
        "raw": b"\x00",
        "price": Decimal("1.10"),
        "gap": float("nan"),
        "n": 2**70,
    }
    answer = await bridge.get(await bridge.publish([row]))
    assert answer.status_code == 200
    assert answer.json()[0]["gap"] is None
    assert answer.headers["bp-lost"] == "1"


# ── selectors ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("content", [b"", b"{}", b" ", b'{"columns": null}'])
async def test_an_s2sp_request_for_everything_gets_everything(bridge: Bridge, content: bytes) -> None:
    answer = await bridge.post(await bridge.publish(ROWS), content)
    assert answer.json() == {"body": WITH_IDS, "total_rows": 3}
    assert answer.headers["cache-control"] == "no-store"


async def test_an_s2sp_request_gets_the_rows_and_columns_that_it_names(bridge: Bridge) -> None:
    answer = await bridge.post(await bridge.publish(ROWS), b'{"row_ids": [0, 2], "columns": ["area"]}')
    expected = [{"_row_id": 0, "area": "Harris"}, {"_row_id": 2, "area": "Bexar"}]
    assert answer.json() == {"body": expected, "total_rows": 2}


async def test_no_rows_are_no_rows_and_use_nothing_up(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS, uses=1)
    for _ in range(3):
        answer = await bridge.post(published, b'{"row_ids": []}')
        assert (answer.status_code, answer.json()) == (200, {"body": [], "total_rows": 0})
    assert (await bridge.post(published)).json()["total_rows"] == 3


BAD_POSTS = [
    *(b'{"row_ids": ["abc"]}', b'{"row_ids": [0.9]}', b'{"row_ids": ["1"]}', b'{"row_ids": [true]}', b'{"row_ids": 1}'),
    *(b'{"row_ids": [3]}', b'{"row_ids": [-1]}', b'{"row_ids": [0, 0]}', b'{"row_ids": [99999999999999999999]}'),
    *(b'{"columns": ["no"]}', b'{"columns": "area"}', b'{"columns": [1]}', b'{"columns": ["area", "area"]}'),
    *(b"[]", b"[0]", b'"x"', b"1", b"null", b"{", b"\xff", b"NaN", b"[" * 100_000, b'{"row_ids": [0]} x'),
]


@pytest.mark.parametrize("content", BAD_POSTS, ids=lambda raw: raw[:30].decode("latin-1"))
async def test_a_bad_selector_is_400_and_uses_nothing_up(bridge: Bridge, content: bytes) -> None:
    published = await bridge.publish(ROWS, uses=1)
    answer = await bridge.post(published, content)
    assert answer.status_code == 400
    assert problem(answer.content)["code"] == "bad_selector"
    assert (await bridge.post(published)).status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        *("?columns=no", "?row_ids=x", "?row_ids=3", "?row_ids=-1", "?row_ids=0.5", "?columns=%ff", "?cols=area"),
        *("?columns=area&columns=event", "?row_ids=" + "9" * 5000, "?" + "a=b&" * 20),
    ],
)
async def test_a_bad_query_is_400_and_never_a_wider_answer(bridge: Bridge, query: str) -> None:
    assert (await bridge.get(await bridge.publish(ROWS), query)).status_code == 400


async def test_a_query_projects(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    assert (await bridge.get(published, "?columns=area,event&row_ids=1")).json() == [
        {"area": "Travis", "event": "Wind"}
    ]
    assert (await bridge.get(published, "?row_ids=")).json() == []
    opaque = await bridge.publish(b"abc")
    assert (await bridge.get(opaque, "?columns=area")).status_code == 400
    assert (await bridge.post(opaque)).content == b"abc"


async def test_a_request_body_above_the_limit_is_413(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS, uses=1)
    answer = await bridge.post(published, b'{"row_ids": [' + b" " * (8 << 20) + b"]}")
    assert (answer.status_code, problem(answer.content)["code"]) == (413, "too_large")
    assert (await bridge.post(published)).status_code == 200


# ── conditions and ranges ─────────────────────────────────────────────────────────────────────────────────


async def test_a_condition_that_holds_saves_the_transfer_and_uses_nothing_up(bridge: Bridge) -> None:
    published = await bridge.publish(BYTES, uses=1)
    head = await bridge.request("HEAD", published)
    assert (head.status_code, head.headers["content-length"], head.content) == (200, "3000000", b"")
    unchanged = await bridge.get(published, if_none_match=head.headers["etag"])
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == head.headers["etag"]
    assert (await bridge.get(published, if_modified_since=head.headers["last-modified"])).status_code == 304
    assert (await bridge.get(published, if_match='"other"')).status_code == 412
    assert (await bridge.get(published, range="bytes=3000000-")).status_code == 416
    assert (await bridge.get(published, if_match=head.headers["etag"])).content == BYTES


async def test_ranges_of_stored_bytes(bridge: Bridge) -> None:
    published = await bridge.publish(BYTES)
    part = await bridge.get(published, range="bytes=1000-2999")
    assert (part.status_code, part.content) == (206, BYTES[1000:3000])
    assert part.headers["content-range"] == "bytes 1000-2999/3000000"
    assert (await bridge.get(published, range="bytes=-10")).content == BYTES[-10:]
    refused = await bridge.get(published, range="bytes=3000000-")
    assert (refused.status_code, refused.headers["content-range"]) == (416, "bytes */3000000")
    for header in ("rows=0-1", "bytes=5-4", "bytes=0-1,5-6"):
        assert (await bridge.get(published, range=header)).status_code == 200
    assert (await bridge.request("HEAD", published, range="bytes=3000000-")).status_code == 200
    assert (await bridge.get(published, range="bytes=0-9", if_range=part.headers["etag"])).status_code == 206
    assert (await bridge.get(published, range="bytes=0-9", if_range='"other"')).status_code == 200


async def test_a_view_answers_a_range_with_the_whole(bridge: Bridge) -> None:
    answer = await bridge.get(await bridge.publish(ROWS), range="bytes=0-1")
    assert (answer.status_code, answer.json()) == (200, ROWS)


async def test_an_etag_is_that_of_these_bytes_only(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    queries = ["", "?columns=area", "?columns=event", "?row_ids=0", "?row_ids="]
    tags = [(await bridge.get(published, query)).headers["etag"] for query in queries]
    tags += [(await bridge.get(published, accept=kind)).headers["etag"] for kind in ("text/csv", ROWS_TYPE)]
    assert len(set(tags)) == len(tags)
    assert tags[0] == (await bridge.get(published)).headers["etag"]


# ── grants, methods, other routes ─────────────────────────────────────────────────────────────────────────


async def test_what_never_opened_gets_one_sentence(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    grant = published.grant
    forged = grant[:-1] + ("A" if grant[-1] != "A" else "B")
    for path in (forged, "x", "x" * 80, grant + "A", "%00", "%F0%9F%98%80", "a" * 2000):
        answer = await bridge.open(f"/s2sp/data/{path}")
        assert answer.status_code == 404
        assert problem(answer.content)["error"] == "Unknown or expired resource"


async def test_a_deleted_body_and_a_spent_grant_are_gone(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    await bridge.wiring.owning.delete(published.body.id)
    assert (await bridge.get(published)).status_code == 410
    spent = await bridge.publish(ROWS, uses=1)
    assert (await bridge.get(spent)).status_code == 200
    refused = await bridge.get_settled(spent)
    assert (refused.status_code, problem(refused.content)["code"]) == (410, "grant_used")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/s2sp/data/x", "GET, HEAD, POST"),
        ("OPTIONS", "/s2sp/data/x", "GET, HEAD, POST"),
        ("GET", "/s2sp/data/x/confirm", "POST"),
        ("POST", "/healthz", "GET, HEAD"),
        ("DELETE", "/metrics", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_there_is_405_and_says_what_is(
    bridge: Bridge, method: str, path: str, allowed: str
) -> None:
    answer = await bridge.open(path, method)
    assert (answer.status_code, answer.headers["allow"]) == (405, allowed)


async def test_health_readiness_and_metrics(bridge: Bridge) -> None:
    assert (await bridge.open("/s2sp/health")).json() == {"status": "ok"}
    assert (await bridge.open("/healthz")).json() == {"status": "ok"}
    ready = await bridge.open("/readyz")
    assert ready.status_code == 200
    assert ready.json().keys() == {"status", "durability", "stored_bytes"}
    assert (await bridge.open("/nowhere")).status_code == 404


async def test_no_metric_and_no_log_line_shows_a_grant(bridge: Bridge, caplog: pytest.LogCaptureFixture) -> None:
    bridge.others.clear()  # metrics are each bridge's own
    caplog.set_level("DEBUG")
    published = await bridge.publish(ROWS, uses=1)
    await bridge.get(published)
    await bridge.get_settled(published)
    await bridge.post(published, b"{", suffix="/confirm")
    await bridge.open(f"/elsewhere/{published.grant}?{published.grant}")
    metrics = (await bridge.open("/metrics")).text
    assert 'broker_plane_requests_total{route="/s2sp/data/…",status="200"} 1' in metrics
    assert 'status="410"} 1' in metrics
    ours = "\n".join(record.getMessage() for record in caplog.records if not record.name.startswith("http"))
    assert "/s2sp/data/…" in ours
    for text in (metrics, ours):
        assert published.grant not in text


async def test_a_body_that_was_read_once_is_served_from_memory(bridge: Bridge) -> None:
    bridge.others.clear()  # metrics are each bridge's own
    published = await bridge.publish(BYTES)
    for _ in range(2):
        assert (await bridge.get(published)).content == BYTES
    metrics = (await bridge.open("/metrics")).text
    assert "broker_plane_cache_hits_total 1" in metrics
    assert "broker_plane_cache_bytes 3000000" in metrics


async def test_a_csv_for_spreadsheets_holds_no_formula(bridge: Bridge) -> None:
    published = await bridge.publish([{"=name": "=1+1", "n": -1}, {"=name": "@x", "n": 2}])
    exact = await bridge.get(published, "?format=text/csv")
    safe = await bridge.get(published, "?csv=safe")
    assert exact.text == "=name,n\r\n=1+1,-1\r\n@x,2\r\n"
    assert safe.text == "'=name,n\r\n'=1+1,-1\r\n'@x,2\r\n"
    assert safe.headers["content-type"] == exact.headers["content-type"]
    assert safe.headers["etag"] != exact.headers["etag"]
    assert (await bridge.get(published, "?csv=safe&format=text/csv&columns=n")).text == "n\r\n-1\r\n2\r\n"
    for query in ("?csv=exact", "?csv=", "?csv=safe&csv=safe", "?csv=safe&format=application/json"):
        assert (await bridge.get(published, query)).status_code == 400, query


async def test_last_modified_is_never_later_than_date(bridge: Bridge) -> None:
    published = [await bridge.publish(ROWS) for _ in range(10)]
    bridge.wiring.publisher._now = lambda: time() + 3600  # a publisher whose clock is an hour ahead
    published += [await bridge.publish(ROWS) for _ in range(2)]
    for one in published:
        for method in ("GET", "HEAD"):
            answer = await bridge.request(method, one)
            modified, date = (parse_date(answer.headers[name]) for name in ("last-modified", "date"))
            assert modified is not None
            assert date is not None
            assert modified <= date
            assert len(answer.headers.get_list("date")) == 1
        again = await bridge.get(one, if_modified_since=answer.headers["date"])
        assert again.status_code in (200, 304)
