"""The data route under narrowed grants: 401, 403, 400, 406, and answers that speak of the part only."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from broker_plane.bridge.audience import Audiences, load_audiences
from broker_plane.errors import ConfigError
from broker_plane.plane.bodies.publish import StoredBody
from broker_plane.runtime.wiring import Wiring
from broker_plane.wire.body import ROWS_TYPE
from broker_plane.wire.caveats import Audience, Bytes, Caveat, Columns, Formats, Rows, Where
from broker_plane.wire.grant import narrow
from tests.bridge.bodies import ROWS, Bridge, serving_bodies

pytestmark = pytest.mark.anyio


def digest(token: str) -> str:
    return sha256(token.encode()).hexdigest()


@pytest.fixture
async def bridge(wiring: Wiring) -> AsyncIterator[Bridge]:
    audiences = load_audiences(f"charts={digest('secret')}, mail=sha256:{digest('other')}")
    async with serving_bodies(wiring, audiences=audiences) as serving:
        yield serving


def less(published: StoredBody, *caveats: Caveat) -> StoredBody:
    return replace(published, grant=narrow(published.grant, *caveats))


def code(content: bytes) -> str:
    fields: dict[str, Any] = json.loads(content)
    return str(fields["code"])


async def test_a_grant_with_an_audience_needs_its_token(bridge: Bridge) -> None:
    published = less(await bridge.publish(ROWS, uses=1), Audience("charts"))
    for headers in (
        {},
        {"authorization": "Bearer unknown"},
        {"authorization": "Basic secret"},
        {"authorization": "secret"},
    ):
        refused = await bridge.get(published, **headers)
        assert (refused.status_code, code(refused.content)) == (401, "unidentified")
        assert refused.headers["www-authenticate"] == 'Bearer realm="broker-plane"'
    other = await bridge.get(published, authorization="Bearer other")
    assert (other.status_code, code(other.content)) == (403, "forbidden")
    for suffix in ("/confirm", "/look"):
        assert (await bridge.post(published, b"{}", suffix)).status_code == 401
    taken = await bridge.get(published, authorization="bearer secret")
    assert (taken.status_code, taken.json()) == (200, ROWS)


async def test_a_token_changes_nothing_for_a_grant_without_audience(bridge: Bridge) -> None:
    published = await bridge.publish(ROWS)
    for token in ("secret", "unknown"):
        assert (await bridge.get(published, authorization=f"Bearer {token}")).json() == ROWS


async def test_two_audiences_are_nobody(bridge: Bridge) -> None:
    published = less(await bridge.publish(ROWS), Audience("charts"), Audience("mail"))
    for token in ("secret", "other"):
        assert (await bridge.get(published, authorization=f"Bearer {token}")).status_code == 403


async def test_what_is_outside_the_scope_is_400_in_the_words_for_unknown(bridge: Bridge) -> None:
    published = less(await bridge.publish(ROWS, uses=1), Where("severity >= 2"), Columns(("event",)))
    for query, says in (
        ("?columns=area", "There is no column 'area' here; there are: event"),
        ("?columns=none", "There is no column 'none' here; there are: event"),
        ("?row_ids=1", "There is no row 1 here"),
        ("?row_ids=99", "There is no row 99 here"),
    ):
        refused = await bridge.get(published, query)
        assert (refused.status_code, json.loads(refused.content)["detail"]) == (400, says)
    assert (await bridge.post(published)).json() == {
        "body": [{"_row_id": 0, "event": "Flood"}, {"_row_id": 2, "event": "Heat"}],
        "total_rows": 2,
    }


async def test_head_and_headers_speak_of_the_part(bridge: Bridge) -> None:
    whole = await bridge.publish(ROWS)
    published = less(whole, Rows(first=2), Columns(("event",)))
    for accept in ("application/json", ROWS_TYPE):
        head = await bridge.request("HEAD", published, accept=accept)
        assert (head.status_code, head.headers["bp-rows"], head.headers["accept-ranges"]) == (200, "2", "none")
        assert "repr-digest" not in head.headers
        assert "content-length" not in head.headers
    assert (await bridge.get(published, accept="text/csv")).text == "event\r\nFlood\r\nWind\r\n"
    part = await bridge.get(published, accept=ROWS_TYPE, range="bytes=0-9")
    assert part.status_code == 200
    assert b"severity" not in part.content


async def test_an_etag_is_that_of_its_scope(bridge: Bridge) -> None:
    whole = await bridge.publish(ROWS)
    scopes: list[list[Caveat]] = [[], [Columns(("event",))], [Rows(first=2)], [Where("severity >= 2")]]
    tags = [(await bridge.get(less(whole, *scope))).headers["etag"] for scope in scopes]
    assert len(set(tags)) == len(tags)
    again = await bridge.get(less(whole, Columns(("event",))), if_none_match=tags[1])
    assert again.status_code == 304
    assert (await bridge.get(less(whole, Columns(("event",))), if_none_match=tags[0])).status_code == 200


async def test_formats_limit_what_is_offered(bridge: Bridge) -> None:
    published = less(await bridge.publish(ROWS), Formats(("text/csv", "application/json")))
    assert (await bridge.get(published)).json() == ROWS
    assert (await bridge.get(published, accept="text/csv")).status_code == 200
    assert (await bridge.get(published, accept=ROWS_TYPE)).status_code == 406
    none = less(published, Formats(("image/png",)))
    for answer in (await bridge.get(none), await bridge.post(none), await bridge.request("HEAD", none)):
        assert answer.status_code == 406
    csv = less(published, Formats(("text/csv",)))
    assert (await bridge.post(csv)).headers["content-type"].startswith("text/csv")
    opaque = less(await bridge.publish(b"abc", media_type="text/plain"), Formats(("application/octet-stream",)))
    assert (await bridge.get(opaque)).headers["content-type"] == "application/octet-stream"


async def test_bytes_above_the_most_are_403_and_use_nothing_up(bridge: Bridge) -> None:
    published = less(await bridge.publish(b"x" * 100, uses=1), Bytes(99))
    refused = await bridge.get(published)
    assert (refused.status_code, code(refused.content)) == (403, "forbidden")
    assert (await bridge.get(published, range="bytes=0-9")).status_code == 403
    assert (await bridge.get(less(await bridge.publish(b"x" * 100), Bytes(100)))).status_code == 200


async def test_a_look_is_json_and_takes_a_number(bridge: Bridge) -> None:
    published = less(await bridge.publish(ROWS, uses=9), Where("severity > 1"))
    look = await bridge.post(published, b'{"sample": 1}', "/look")
    assert look.json() == {"count": 2, "columns": ["event", "severity", "area"], "sample": [{"_row_id": 0, **ROWS[0]}]}
    assert (await bridge.post(published, b"", "/look")).json()["count"] == 2
    for bad in (b'{"sample": -1}', b'{"sample": 101}', b'{"sample": "1"}', b'{"sample": true}', b"[]"):
        assert (await bridge.post(published, bad, "/look")).status_code == 400
    assert (await bridge.get(published, "/look")).status_code == 405


def test_audiences_are_a_list_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "audiences"
    file.write_text(
        f"# who may pull\ncharts={digest('a')}\n\nmail=SHA256:{digest('b').upper()}  # rotated\nmail={digest('c')}\n"
    )
    known = load_audiences(str(file))
    assert [known.who({"authorization": f"Bearer {token}"}) for token in "abcd"] == ["charts", "mail", "mail", ""]
    assert load_audiences("") == Audiences()


@pytest.mark.parametrize("setting", ["charts=abc", "a b=" + "0" * 64, "=" + "0" * 64, "/nowhere/at/all"])
def test_audiences_that_are_none_are_named(setting: str) -> None:
    with pytest.raises(ConfigError, match="BROKER_PLANE_AUDIENCES"):
        load_audiences(setting)
