"""A text with its table: pulls return the text, and readers, previews and queries see the table, within one grant."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress

import pytest

from broker_plane import Plane, Published
from broker_plane.config import Settings
from broker_plane.errors import BodyNotFoundError, GrantError, SelectorError
from broker_plane.runtime.pulls import PulledBody
from broker_plane.runtime.texts import publish_text
from broker_plane.wire.names import table_id

pytestmark = pytest.mark.anyio
CSV = b"id,word\r\n007,a\r\n8,b\r\n9,a\r\n"
ROWS = [{"id": "007", "word": "a"}, {"id": "8", "word": "b"}, {"id": "9", "word": "a"}]


@pytest.fixture
async def plane(settings: Settings) -> AsyncIterator[Plane]:
    async with Plane.connect(settings) as connected:
        yield connected


@pytest.fixture
async def published(plane: Plane) -> Published:
    return await publish_text(plane, CSV, ROWS, ["id", "word"], media_type="text/csv", name="words.csv")


@pytest.mark.parametrize("via", ["http", "nats"])
async def test_a_pull_returns_the_text(plane: Plane, published: Published, via: str) -> None:
    for _ in range(3):
        assert await plane.pull(published.resource_url, via=via) == CSV  # type: ignore[arg-type]


async def test_readers_see_the_table(plane: Plane, published: Published) -> None:
    url = published.resource_url
    assert (await plane.read(url)).text == "_row_id,id,word\n0,007,a\n1,8,b\n2,9,a"
    assert (await plane.read(url, where="word = 'a'", columns=["id"])).text == "_row_id,id\n0,007\n2,9"
    described = await plane.describe(url)
    assert described.kind == "table" and [column["name"] for column in described.columns] == ["id", "word"]
    assert (await plane.preview(url, where="word = 'b'")).count == 1


async def test_a_narrowed_grant_shows_no_more_of_either(plane: Plane, published: Published) -> None:
    narrowed = plane.narrow(published.resource_url, columns=["word"], where="word = 'b'").resource_url
    assert (await plane.read(narrowed)).text == "_row_id,word\n1,b"
    with pytest.raises(SelectorError):
        await plane.read(narrowed, columns=["id"])
    for via in ("http", "nats"):
        assert await plane.pull(narrowed, via=via) == [{"word": "b"}]


async def test_a_text_without_its_table_is_read_by_lines(plane: Plane, published: Published) -> None:
    alone = await plane.publish(CSV, media_type="text/csv")
    assert (await plane.read(alone.resource_url)).unit == "lines"
    await plane.wiring.owning.delete(table_id(published.body.id))
    assert (await plane.read(published.resource_url)).unit == "lines"


async def test_both_are_deleted_together(plane: Plane, published: Published) -> None:
    await plane.bodies.delete(published.body.id)
    for body in (published.body.id, table_id(published.body.id)):
        with pytest.raises(BodyNotFoundError):
            await plane.bodies.info(body)
    with suppress(GrantError, BodyNotFoundError):
        await plane.read(published.resource_url)
        pytest.fail("a deleted body was read")


@pytest.mark.parametrize("media_type", ["text/csv", "text/plain", "text/csv; charset=utf-8"])
async def test_a_consumer_of_rows_gets_those_of_a_text(plane: Plane, media_type: str) -> None:
    lines = b"id,word\r\n" + b"".join(b"%d,w%d\r\n" % (number, number % 7) for number in range(20_000))
    body = await plane.publish(lines, media_type=media_type)

    def rows(got: PulledBody) -> list[object]:
        return [got.ids[-1], got.rows[-1]]

    assert await plane.pull(body.resource_url, validate=rows) == [19_999, {"id": 19_999, "word": "w0"}]


@pytest.mark.parametrize(
    ("raw", "media_type"), [(b"just a text", "text/plain"), (b"\xff\xfe", "text/csv"), (CSV, "image/png")]
)
async def test_other_bodies_have_no_rows(plane: Plane, raw: bytes, media_type: str) -> None:
    body = await plane.publish(raw, media_type=media_type)
    with pytest.raises(SelectorError, match="opaque"):
        await plane.pull(body.resource_url, validate=lambda got: got.rows)
