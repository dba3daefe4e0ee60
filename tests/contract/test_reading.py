"""Reading on in bodies, on a real bridge and nats-server: parts, descriptions, what they cost and what stays hidden."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import AsyncIterator
from hashlib import sha256
from io import StringIO
from typing import Any

import pytest
from msgspec.structs import replace

from broker_plane import Plane, Published, ReadAnswer
from broker_plane.config import Secret, Settings
from broker_plane.errors import (
    AuthenticationRequiredError,
    BodyNotFoundError,
    BrokerPlaneError,
    ForbiddenError,
    GrantExpiredError,
    GrantRevokedError,
    GrantUsedError,
    NotAcceptableError,
    NotSupportedYetError,
    SelectorError,
    StorageError,
    TooCostlyError,
    TooLargeError,
    WireError,
)
from broker_plane.sync import Plane as BlockingPlane
from broker_plane.testing.server import NatsServer, eventually
from tests.faults.test_damage import replace_last_chunk

pytestmark = pytest.mark.anyio

TOKEN = "charts-token"
COUNT = 1_200
CANARY = f"canary-{os.urandom(12).hex()}"
Row = dict[str, Any]


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    digest = sha256(TOKEN.encode()).hexdigest()
    named = replace(settings, token=Secret(TOKEN), audiences=f"charts={digest}")
    async with Plane.connect(named) as connected:
        yield connected


def rows_of(count: int = COUNT) -> list[Row]:
    """Every tenth row has the level 9; hidden columns and hidden rows have canaries."""
    return [
        {
            "event": f"shown-{row}" if row % 10 == 0 else f"{CANARY}-{row}",
            "level": 9 if row % 10 == 0 else row % 7,
            "secret": f"{CANARY}-{row}",
            "region": "CA" if row % 20 == 0 else "TX",
        }
        for row in range(count)
    ]


def shown(answer: ReadAnswer) -> list[dict[str, str]]:
    return list(csv.DictReader(StringIO(answer.text)))


async def all_of_it(plane: Plane, address: str, **what: Any) -> list[ReadAnswer]:
    """Every answer from the first one on, by following `next`."""
    answers = [await plane.read(address, **what)]
    while answers[-1].next is not None:
        name, _, value = answers[-1].next.partition("=")
        what = {each: given for each, given in what.items() if each not in ("page", "head", "tail", "rows")}
        what[name] = int(value) if name == "page" else value
        answers.append(await plane.read(address, **what))
    return answers


# ── rows ─────────────────────────────────────────────────────────────────────────────────────────────────────


async def test_pages_of_a_filter_have_each_row_once(plane: Plane) -> None:
    rows = rows_of()
    published = await plane.publish(rows, uses="unlimited")
    answers = await all_of_it(plane, published.resource_url, where="level = 9", columns=["event"])
    assert [(answer.count, answer.total) for answer in answers] == [(50, 120), (50, 120), (20, 120)]
    found = [row for answer in answers for row in shown(answer)]
    assert found == [{"_row_id": str(row), "event": f"shown-{row}"} for row in range(0, COUNT, 10)]


async def test_what_does_not_fit_is_read_by_following_next(plane: Plane) -> None:
    rows = rows_of(300)
    published = await plane.publish(rows, uses="unlimited")
    entries: list[dict[str, Any]] = [{}, {"rows": "0-"}, {"head": 300}, {"rows": "0-99,100-299"}]
    for what in entries:
        answers = await all_of_it(plane, published.resource_url, max_tokens=400, **what)
        assert max(len(answer.text.encode()) for answer in answers) <= 1_600
        assert [int(row["_row_id"]) for answer in answers for row in shown(answer)] == list(range(300)), what
    backwards = await plane.read(published.resource_url, tail=100, max_tokens=400)
    assert shown(backwards)[-1]["_row_id"] == "299"
    assert backwards.next == f"rows=200-{backwards.first - 1}"


async def test_a_search_of_rows_goes_on_where_it_ended(plane: Plane) -> None:
    published = await plane.publish(rows_of(), uses="unlimited")
    answers = await all_of_it(plane, published.resource_url, grep=r"shown-\d*0,9,.*,CA$", max_tokens=500)
    assert len(answers) > 1
    assert [int(row["_row_id"]) for answer in answers for row in shown(answer)] == list(range(0, COUNT, 20))
    assert [answer.total for answer in answers][:-1] == [None] * (len(answers) - 1)
    part = await plane.read(published.resource_url, grep="shown", rows="100-119,1000", columns=["event"])
    assert part.text == "_row_id,event\n100,shown-100\n110,shown-110\n1000,shown-1000"
    assert (part.total, part.next) == (3, None)
    assert (await plane.read(published.resource_url, grep="9", columns=["region"])).count == 0


async def test_requests_that_do_not_fit_a_table_say_so(plane: Plane) -> None:
    url = (await plane.publish(rows_of(5), uses="unlimited")).resource_url
    wrong: list[tuple[dict[str, Any], type[BrokerPlaneError], str]] = [
        ({"json_path": "$"}, SelectorError, "has rows"),
        ({"columns": ["nope"]}, SelectorError, "nope"),
        ({"rows": "a-b"}, SelectorError, "rows are numbers"),
        ({"grep": "(?=a)"}, WireError, "RE2"),
        ({"page": 1, "head": 2}, WireError, "Give one of"),
        ({"max_tokens": 50_000}, WireError, "max_tokens"),
        ({"where": "nope = 1"}, SelectorError, "nope"),
    ]
    for what, kind, said in wrong:
        with pytest.raises(kind, match=said):
            await plane.read(url, **what)
    beyond = await plane.read(url, rows="5-")
    assert (beyond.count, beyond.total, beyond.next) == (0, 5, None)
    assert (await plane.read(url, page=2)).count == 0


async def test_a_table_is_described(plane: Plane) -> None:
    published = await plane.publish(rows_of(), uses="unlimited")
    described = await plane.describe(published.resource_url)
    assert (described.kind, described.facts["rows"]) == ("table", COUNT)
    level = next(column for column in described.columns if column["name"] == "level")
    assert (level["type"], level["nulls"], level["distinct"], level["min"], level["max"]) == ("int", 0, 8, 0, 9)
    empty = await plane.describe((await plane.publish([], columns=["a"], uses="unlimited")).resource_url)
    assert [dict(column) for column in empty.columns] == [{"name": "a", "type": "null", "nulls": 0, "distinct": 0}]


async def test_three_hundred_thousand_rows_are_described_filtered_and_searched(plane: Plane) -> None:
    pyarrow = pytest.importorskip("pyarrow")
    count = 300_000
    columns = {
        "id": range(count),
        "area": ["CA", "TX", "NY"] * (count // 3),
        "n": [row % 1_000 for row in range(count)],
    }
    url = (await plane.publish(pyarrow.table(columns), uses="unlimited")).resource_url
    described = {str(column["name"]): column for column in (await plane.describe(url)).columns}
    assert (described["id"]["distinct"], described["id"]["max"]) == ("more than 10,000", count - 1)
    assert (described["n"]["distinct"], described["area"]["examples"]) == (1_000, ["CA", "TX", "NY"])
    page = await plane.read(url, page=6_000)
    assert (page.first, page.count, page.next) == (299_950, 50, None)
    filtered = await plane.read(url, where="n = 77 and area = 'CA'", head=2)
    assert (filtered.text, filtered.total) == ("_row_id,id,area,n\n1077,1077,CA,77\n4077,4077,CA,77", 100)
    found = await plane.read(url, grep="^299999,")
    assert (found.text, found.total) == ("_row_id,id,area,n\n299999,299999,NY,999", 1)


# ── texts, JSON, bytes ───────────────────────────────────────────────────────────────────────────────────────


async def test_twenty_megabytes_of_text_are_searched_and_paged(plane: Plane) -> None:
    lines = [f"{number:08} an ordinary line of a log that somebody keeps, as text" for number in range(320_000)]
    lines[250_000] += " needle"
    text = "\n".join(lines)
    assert len(text) > 20_000_000
    url = (await plane.publish(text.encode(), media_type="text/plain", uses="unlimited")).resource_url
    found = await plane.read(url, grep="NEEDLE|needle$")
    assert (found.text, found.total) == (f"250001:{lines[250_000]}", 1)
    tail = await plane.read(url, tail=2)
    assert (tail.text, tail.first, tail.total) == ("\n".join(lines[-2:]), 319_999, 320_000)
    page = await plane.read(url, page=3_200)
    assert (page.text, page.next, page.total) == ("\n".join(lines[-100:]), None, 320_000)
    middle = await plane.read(url, rows="200000-200001,300000")
    assert middle.text == "\n".join((*lines[199_999:200_001], lines[299_999]))
    described = await plane.describe(url)
    assert (described.facts["lines"], described.facts["bytes"]) == (320_000, len(text))
    answers = await all_of_it(plane, url, rows="100001-100300", max_tokens=1_000)
    assert "\n".join(answer.text for answer in answers) == "\n".join(lines[100_000:100_300])


async def test_values_of_json_are_read_by_path(plane: Plane) -> None:
    items = [{"id": number, "name": f"n{number}"} for number in range(20_000)]
    value = {"meta": {"n": 2}, "items": items}
    url = (await plane.publish(json.dumps(value).encode(), media_type="application/json")).resource_url
    assert (await plane.read(url, json_path="$.meta")).text == '{"n":2}'
    assert (await plane.read(url, json_path="$.items[-2:].name")).text == '["n19998","n19999"]'
    answers = [await plane.read(url, json_path="$.items", max_tokens=300)]
    answers.append(await plane.read(url, json_path="$.items", max_tokens=300, rows=(answers[0].next or "")[5:]))
    assert json.loads(answers[0].text) + json.loads(answers[1].text) == items[: sum(each.count for each in answers)]
    assert [answer.total for answer in answers] == [20_000, 20_000]
    whole = await plane.read(url)
    assert (whole.unit, whole.cut, whole.text[:20]) == ("json", True, '{"meta":{"n":2},"ite')
    described = await plane.describe(url)
    assert "$.items: array of 20,000" in described.outline
    with pytest.raises(WireError, match="no filters"):
        await plane.read(url, json_path="$..id")


async def test_what_only_claims_to_be_json_is_an_error_and_still_a_text(plane: Plane) -> None:
    url = (await plane.publish(b'{"a": 1,}', media_type="application/json", uses="unlimited")).resource_url
    with pytest.raises(WireError, match="not JSON"):
        await plane.read(url)
    assert (await plane.read(url, page=1)).text == '{"a": 1,}'
    assert (await plane.describe(url)).kind == "text"


async def test_json_that_is_too_large_is_read_as_text(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker_plane.plane.bodies.opaque_reader.MOST_JSON_BYTES", 1_000)
    raw = json.dumps([f"value {number}" for number in range(1_000)], indent=0).encode()
    url = (await plane.publish(raw, media_type="application/json", uses="unlimited")).resource_url
    with pytest.raises(TooLargeError, match="json_path"):
        await plane.read(url)
    assert (await plane.read(url, grep="value 999")).text == '1001:"value 999"'
    assert (await plane.describe(url)).facts["lines"] == 1_002


async def test_bytes_are_shown_in_hexadecimal(plane: Plane) -> None:
    url = (await plane.publish(bytes(range(256)) * 4, media_type="image/png", uses="unlimited")).resource_url
    answer = await plane.read(url, rows="64-70")
    assert answer.text == f"00000040  {'40 41 42 43 44 45 46':<47}  @ABCDEF"
    assert ((await plane.read(url)).next, (await plane.read(url, page=2)).next) == ("page=2", None)
    described = await plane.describe(url)
    assert (described.kind, described.facts["bytes"], described.media_type) == ("bytes", 1_024, "image/png")
    assert described.facts["starts_with"].startswith("00 01 02")
    wrong: list[dict[str, Any]] = [{"grep": "x"}, {"json_path": "$"}, {"columns": ["a"]}]
    for what in wrong:
        with pytest.raises(SelectorError):
            await plane.read(url, **what)


# ── grants ───────────────────────────────────────────────────────────────────────────────────────────────────


async def test_reading_takes_no_use_and_ends_with_the_use(plane: Plane) -> None:
    published = await plane.publish(rows_of(), uses=1)
    assert (await plane.read(published.resource_url, head=3)).count == 3
    assert (await plane.describe(published.resource_url)).kind == "table"
    assert len(await plane.pull(published.resource_url)) == COUNT
    await eventually(lambda: _is_refused(plane, published, GrantUsedError))


async def test_each_reading_is_paid_for_by_what_it_shows(plane: Plane) -> None:
    """A use pays for two deliveries' worth of readings, 200 small ones or two of everything, and for the pull."""
    small = await plane.publish(rows_of(), uses=1)
    for _ in range(200):
        await plane.read(small.resource_url, rows="7", columns=["level"])
    with pytest.raises(ForbiddenError):
        await plane.read(small.resource_url, rows="7")
    assert await plane.pull(small.resource_url) == rows_of()
    texts: list[tuple[Any, dict[str, Any]]] = [(b"some text\n" * 20, {"head": 20}), (b'{"a": [1, 2, 3]}', {})]
    for data, what in [(rows_of(20), {"head": 20}), *texts]:
        whole = await plane.publish(data, uses=1, media_type="" if isinstance(data, list) else "application/json")
        for _ in range(2):
            await plane.read(whole.resource_url, **what)
        with pytest.raises(ForbiddenError):
            await plane.read(whole.resource_url, **what)


async def test_hidden_columns_and_rows_stay_hidden(plane: Plane) -> None:
    published = await plane.publish(rows_of(), uses="unlimited")
    less = plane.narrow(published.resource_url, where="level = 9", columns=["event", "level"]).resource_url
    seen: list[str] = [json.dumps((await plane.describe(less)).to_wire())]
    asked: list[dict[str, Any]] = [{}, {"rows": "0-1200"}, {"rows": "1"}, {"grep": CANARY}, {"grep": "."}]
    asked += [{"grep": "TX|CA"}, {"tail": 500}, {"head": 500}, {"where": "level >= 0"}, {"page": 3}]
    for what in asked:
        answer = await plane.read(less, max_tokens=20_000, **what)
        seen.append(answer.text)
        assert {int(row["_row_id"]) % 10 for row in shown(answer)} <= {0}, what
    assert CANARY not in "".join(seen)
    hidden: list[dict[str, Any]] = [{"columns": ["secret"]}, {"where": "secret = 'x'"}, {"where": "region = 'CA'"}]
    for what in hidden:
        with pytest.raises(SelectorError, match="There is no column"):
            await plane.read(less, **what)
    assert (await plane.describe(less)).facts == {"rows": 120, "column_count": 2}
    assert (await plane.describe(published.resource_url)).facts["rows"] == COUNT


async def test_formats_audience_and_bytes_of_a_grant_hold(plane: Plane, settings: Settings) -> None:
    url = (await plane.publish(rows_of(), uses="unlimited")).resource_url
    text = (await plane.publish(b"x" * 500, media_type="text/plain", uses="unlimited")).resource_url
    packed = plane.narrow(url, formats=["application/msgpack"]).resource_url
    for ask in (plane.read, plane.describe):
        with pytest.raises(NotAcceptableError):
            await ask(packed)
    small = plane.narrow(url, max_bytes=200).resource_url
    assert len((await plane.read(small)).text.encode()) <= 200
    with pytest.raises(ForbiddenError):
        await plane.describe(small)
    with pytest.raises(ForbiddenError):
        await plane.read(plane.narrow(text, max_bytes=499).resource_url)
    named = plane.narrow(url, audience="charts").resource_url
    assert (await plane.read(named, head=1)).count == 1
    async with Plane.connect(replace(settings, trusted_hosts=named.split("/")[2])) as nobody:
        for ask in (nobody.read, nobody.describe):
            with pytest.raises(AuthenticationRequiredError):
                await ask(named)


async def test_a_grant_that_ended_shows_nothing(plane: Plane) -> None:
    published = await plane.publish(rows_of(10), uses="unlimited")
    await plane.describe(published.resource_url)
    expired = plane.narrow(published.resource_url, ttl=1).resource_url
    await eventually(lambda: _is_refused(plane, expired, GrantExpiredError))
    await plane.revoke(published.resource_url)
    await eventually(lambda: _is_refused(plane, published, GrantRevokedError))
    for address in (expired, published.resource_url):
        with pytest.raises((GrantExpiredError, GrantRevokedError)):
            await plane.describe(address)
    deleted = await plane.publish(rows_of(10), uses="unlimited")
    await plane.describe(deleted.resource_url)
    await plane.bodies.delete(deleted.body.id)
    for ask in (plane.read, plane.describe):
        with pytest.raises((BodyNotFoundError, GrantRevokedError)):
            await ask(deleted.resource_url)


async def test_readings_are_audited(plane: Plane) -> None:
    published = await plane.publish(rows_of(10), uses="unlimited")
    await plane.read(published.resource_url, rows="3-4", columns=["event"])

    async def looked() -> bool:
        entries = await plane.bodies.audit(published.body.id)
        return [(each.rows, each.columns) for each in entries if each.what == "looked"] == [(2, ("event",))]

    await eventually(looked)


async def test_a_search_costs_at_most_the_time_of_a_scan(settings: Settings) -> None:
    rows = [{"text": f"a line of text {number}"} for number in range(200_000)]
    async with Plane.connect(replace(settings, max_scan_cpu_seconds=0.02)) as plane:
        url = (await plane.publish(rows, uses="unlimited")).resource_url
        with pytest.raises(TooCostlyError):
            await plane.read(url, grep="nothing like this")


# ── ways to it ───────────────────────────────────────────────────────────────────────────────────────────────


async def test_a_grant_and_a_subject_are_read_at_the_own_bridge(plane: Plane, settings: Settings) -> None:
    published = await plane.publish(rows_of(3), uses="unlimited")
    for address in (published.grant, published.subject):
        assert (await plane.read(address)).count == 3
    async with Plane.guest(settings.nats_url) as guest:
        with pytest.raises(WireError, match="resource_url"):
            await guest.read(published.subject)


async def test_a_missing_re2_is_named(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    url = (await plane.publish(b"text", uses="unlimited")).resource_url
    monkeypatch.setitem(sys.modules, "re2", None)
    with pytest.raises(NotSupportedYetError, match="google-re2"):
        await plane.read(url, grep="t")
    assert (await plane.read(url)).text == "text"


def test_the_synchronous_plane_reads(settings: Settings) -> None:
    with BlockingPlane.connect(settings) as plane:
        url = plane.publish(rows_of(3), uses="unlimited").resource_url
        assert plane.read(url, head=1, columns=["event"]).text == "_row_id,event\n0,shown-0"
        assert plane.describe(url).facts["rows"] == 3


async def test_a_damaged_body_is_an_error_and_no_rows(plane: Plane, nats_server: NatsServer) -> None:
    rows = [{"n": number, "noise": os.urandom(40)} for number in range(30_000)]
    cases: list[tuple[Any, dict[str, Any]]] = [(rows, {"tail": 5}), (b"line\n" * 300_000, {"grep": "nothing"})]
    for data, what in cases:
        published = await plane.publish(data, uses="unlimited", media_type="" if data is rows else "text/plain")
        await replace_last_chunk(plane, nats_server, published.body)
        with pytest.raises(StorageError):
            await plane.read(published.resource_url, **what)
        with pytest.raises(StorageError):
            await plane.describe(published.resource_url)


async def _is_refused(plane: Plane, address: Published | str, error: type[BrokerPlaneError]) -> bool:
    try:
        await plane.read(address if isinstance(address, str) else address.resource_url, head=1)
    except error:
        return True
    return False


async def test_readings_leave_the_pull_and_say_so(plane: Plane) -> None:
    published = await plane.publish([{"n": number} for number in range(10)], uses=1)
    with pytest.raises(ForbiddenError, match="1 delivery can still be pulled"):
        for _ in range(10):
            await plane.read(published.resource_url, page=1)
    assert await plane.pull(published.resource_url) == [{"n": number} for number in range(10)]
