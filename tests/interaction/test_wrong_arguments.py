"""Mistakes of people who use the Python API: each is one sentence that says what to pass instead."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Narrowing, Plane, PlaneServer
from broker_plane.config import Settings, load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.testing.server import NatsServer
from tests.interaction.conftest import Agent, error_of, shape_of, text_of

pytestmark = pytest.mark.anyio
ROWS = [{"event": "Flood", "n": 1}, {"event": "Heat", "n": 2}]
DAYS_30 = 30 * 86_400


@pytest.fixture(scope="module")
async def plane(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Plane]:
    settings = load_settings(nats_url=nats_server.url, data_dir=tmp_path_factory.mktemp("plane"))
    async with Plane.connect(settings) as connected:
        yield connected


ZERO, NOTHING = 0, None
"""Ambiguous values, by names that a script which rewrites call sites does not touch."""
MISTAKES: dict[str, tuple[Callable[[Any, Any], Any], str]] = {
    "abstract is a text": (lambda plane, p: plane.publish(ROWS, abstract="event"), r"abstract=\['event'\]"),
    "abstract is a number": (lambda plane, p: plane.publish(ROWS, abstract=1), r"abstract is a list of names"),
    "abstract has a number": (lambda plane, p: plane.publish(ROWS, abstract=[1]), r"abstract is a list of names"),
    "ttl is a word": (lambda plane, p: plane.publish(ROWS, ttl="soon"), r"ttl is a time in seconds, such as ttl=600"),
    "ttl is a list": (lambda plane, p: plane.publish(ROWS, ttl=[600]), "ttl is a time in seconds"),
    "ttl is true": (lambda plane, p: plane.publish(ROWS, ttl=True), "ttl is a time in seconds"),
    "ttl is NaN": (lambda plane, p: plane.publish(ROWS, ttl=float("nan")), "ttl is a time in seconds"),
    "ttl is nothing": (lambda plane, p: plane.publish(ROWS, ttl=0), "more than 0"),
    "ttl is past": (lambda plane, p: plane.publish(ROWS, ttl=timedelta(minutes=-1)), "more than 0"),
    "ttl is 90 days": (lambda plane, p: plane.publish(ROWS, ttl=90 * 86_400), r"the most is 2592000 \(30 days\)"),
    "ttl is 31 days": (lambda plane, p: plane.publish(ROWS, ttl="31 days"), "30 days"),
    "ttl of a grant": (lambda plane, p: plane.grants.mint(p.body.id, Narrowing(ttl=DAYS_30 + 1)), "30 days"),
    "ttl of an upload": (lambda plane, p: plane.uploads.grant(ttl=DAYS_30 * 2), "30 days"),
    "ttl of narrowing": (lambda plane, p: plane.narrow(p.resource_url, ttl="never"), "ttl is a time in seconds"),
    "abstract is None": (lambda plane, p: plane.publish(ROWS, abstract=NOTHING), r'write abstract="all"'),
    "abstract of no rows": (
        lambda plane, p: plane.publish(ROWS, abstract=["n"], abstract_limit=ZERO),
        r'write abstract_limit="all"',
    ),
    "uses are zero": (lambda plane, p: plane.publish(ROWS, uses=ZERO), r'write uses="unlimited"'),
    "uses of an upload are zero": (lambda plane, p: plane.uploads.grant(uses=ZERO), r'write uses="unlimited"'),
    "uses of narrowing are zero": (lambda plane, p: plane.narrow(p.resource_url, uses=ZERO), r'write uses="unlimited"'),
    "uses is a text": (lambda plane, p: plane.publish(ROWS, uses="3"), "at most 65535"),
    "uses is a lot": (lambda plane, p: plane.publish(ROWS, uses=99_999), "at most 65535"),
    "uses of a grant": (lambda plane, p: plane.grants.mint(p.body.id, Narrowing(uses=99_999)), "at most 65535"),
    "uses of narrowing": (lambda plane, p: plane.narrow(p.resource_url, uses=99_999), "at most 65535"),
    "uses of an upload": (lambda plane, p: plane.uploads.grant(uses=-1), "at most 65535"),
    "uses of many": (lambda plane, p: plane.grants.mint_many(p.body.id, 2, uses=70_000), "at most 65535"),
    "kind of a version": (
        lambda plane, p: plane.publish(ROWS, feed="a.b", key="n", kind="full"),
        "'snapshot' or 'delta'",
    ),
    "kind without a feed": (lambda plane, p: plane.publish(ROWS, kind="Delta"), "'snapshot' or 'delta'"),
    "kind of a stream": (lambda plane, p: plane.streams.publish("row"), "'rows' or 'bytes'"),
    "removed is a text": (
        lambda plane, p: plane.publish([], feed="a.b", key="n", kind="delta", removed="ab"),
        r"removed=\['ab'\]",
    ),
    "pull of nothing": (lambda plane, p: plane.pull(None), "resource_url of a published body, as text, not None"),
    "pull of what was published": (lambda plane, p: plane.pull(p), r"published\.resource_url"),
    "pull of bytes": (lambda plane, p: plane.pull(p.resource_url.encode()), "as text, not a bytes"),
    "pull of a body": (lambda plane, p: plane.pull(p.body), "as text, not a BodyInfo"),
    "a file of nothing": (lambda plane, p: plane.pull_to(None, Path("x")), "not None"),
    "a table of what was published": (lambda plane, p: plane.pull_table(p), r"published\.resource_url"),
    "a look at nothing": (lambda plane, p: plane.preview(None), "not None"),
    "narrowing of what was published": (lambda plane, p: plane.narrow(p, columns=["n"]), r"published\.resource_url"),
    "revoking of nothing": (lambda plane, p: plane.revoke(None), "not None"),
    "columns is a text": (lambda plane, p: plane.pull(p.resource_url, columns="event"), r"columns=\['event'\]"),
    "columns of narrowing": (lambda plane, p: plane.narrow(p.resource_url, columns="event"), r"columns=\['event'\]"),
    "row_ids is a text": (lambda plane, p: plane.pull(p.resource_url, row_ids="0,1"), r"row_ids=\[0,1\]"),
    "row_ids is a number": (lambda plane, p: plane.pull(p.resource_url, row_ids=1), r"row_ids=\[1\]"),
    "formats is a text": (lambda plane, p: plane.narrow(p.resource_url, formats="text/csv"), r"formats=\['text/csv'\]"),
    "names is a text": (lambda plane, p: plane.grants.mint_many(p.body.id, "ann"), r"names=\['ann'\]"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
async def test_a_mistake_is_one_sentence(plane: Plane, mistake: str) -> None:
    make, said = MISTAKES[mistake]
    published = await plane.publish(ROWS)
    bodies = {body.id for body in await plane.bodies.list()}
    with pytest.raises(BrokerPlaneError, match=said):
        await make(plane, published)
    assert {body.id for body in await plane.bodies.list()} <= bodies  # those of other tests may expire


@pytest.mark.parametrize(
    "ttl",
    [600, 600.0, 599.2, "600", "600s", "10m", "10 minutes", "10 min", timedelta(minutes=10), timedelta(seconds=599.5)],
)
async def test_a_time_is_taken_in_every_unit(plane: Plane, ttl: Any) -> None:
    now = plane.wiring.now()
    assert now + 598 < (await plane.publish(ROWS, ttl=ttl)).expires <= now + 660


async def test_the_longest_life_is_taken(plane: Plane) -> None:
    assert (await plane.publish(ROWS, ttl=DAYS_30)).expires
    assert (await plane.publish(ROWS, ttl=timedelta(days=30), uses=65_535)).expires


async def test_a_plane_is_connected_within_a_block(settings: Settings) -> None:
    plane: Any = Plane.connect(settings)
    with pytest.raises(AttributeError, match=r"async with Plane\.connect") as raised:
        plane.publish(ROWS)
    assert "'publish'" in str(raised.value)
    with pytest.raises(ConfigError, match=r"async with Plane\.connect"):
        await plane
    with pytest.raises(ConfigError, match=r"async with Plane\.connect"), plane:
        pass


async def test_a_decorator_needs_no_parentheses(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool
    def table() -> list[dict[str, Any]]:
        return ROWS

    @server.consumer_tool
    def count(rows: list[dict[str, Any]]) -> int:
        return len(rows)

    url = shape_of(await agent("table", abstract_domains="n"))["resource_url"]
    assert text_of(await agent("count", resource_url=url)) == str(len(ROWS))
    assert table() == ROWS


@pytest.mark.parametrize(("name", "word"), [("uses", "unlimited"), ("abstract_limit", "all")])
def test_a_zero_in_a_decorator_names_the_word(server: PlaneServer, name: str, word: str) -> None:
    with pytest.raises(ConfigError, match=f'write {name}="{word}"'):
        server.resource_tool(**{name: 0})  # type: ignore[call-overload]


async def test_what_a_tool_raises_reaches_the_model_as_it_is(server: PlaneServer, agent: Agent) -> None:
    @server.resource_tool()
    def broken() -> list[dict[str, Any]]:
        raise KeyError("area")

    @server.resource_tool()
    def midway() -> Iterator[dict[str, Any]]:
        yield {"n": 1}
        raise RuntimeError("the database went away: pg://u:hunter2@db/x")

    @server.resource_tool()
    def missing() -> Path:
        return Path("/srv/secret-place/report.csv")

    @server.resource_tool()
    def directory() -> Path:
        return Path("/tmp")

    @server.consumer_tool()
    def breaking(rows: list[dict[str, Any]]) -> str:
        raise ValueError("no column 'total'")

    calls = {
        "broken: KeyError: 'area'": await agent("broken", abstract_domains="n"),
        "midway: RuntimeError: the database went away: pg://…@db/x": await agent("midway", abstract_domains="n"),
        "missing: FileNotFoundError: [Errno 2] No such file or directory: 'report.csv'": await agent("missing"),
        "directory: IsADirectoryError: [Errno 21] Is a directory: 'tmp'": await agent("directory"),
    }
    published = await (await server.plane()).publish(ROWS)
    calls["breaking: ValueError: no column 'total'"] = await agent("breaking", resource_url=published.resource_url)
    for said, result in calls.items():
        assert error_of(result) == f"Error executing tool {said}"
