"""`broker-plane feeds grant`: what `plane.feeds.grant` does, on the command line."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anyio.to_thread import run_sync
from typer.testing import CliRunner, Result

from broker_plane import Plane
from broker_plane.cli.main import app_of
from broker_plane.config import Settings

pytestmark = pytest.mark.anyio
CONTACTS = [
    {"id": number, "mail": f"{number}@example.org", "city": "Oslo" if number % 2 else "Bergen"} for number in range(6)
]
URL = "http://127.0.0.1:9"


@pytest.fixture
async def published(plane: Plane, feed: str) -> str:
    """A feed with one version."""
    await plane.publish(CONTACTS, feed=feed, key="id")
    return feed


async def command(settings: Settings, *words: str) -> Result:
    env = {"BROKER_PLANE_NATS_URL": settings.nats_url, "BROKER_PLANE_BRIDGE_URL": URL}
    env["BROKER_PLANE_DATA_DIR"] = str(settings.data_dir)
    return await run_sync(lambda: CliRunner().invoke(app_of("feeds"), ["feeds", "grant", *words], env=env))


async def granted(settings: Settings, *words: str) -> dict[str, Any]:
    done = await command(settings, *words, "--json")
    assert done.exit_code == 0, done.output
    made: dict[str, Any] = json.loads(done.stdout)
    return made


async def test_its_versions_are_pulled_with_what_it_shows(plane: Plane, published: str, settings: Settings) -> None:
    options = ("--columns", "id,mail", "--where", "city = 'Oslo'", "--first", "2", "--max-bytes", "10MB", "--ttl", "2h")
    made = await granted(settings, published, *options, "--formats", "application/json", "--audience", plane.name)
    assert made["resource_url"].startswith(f"{URL}/v1/feeds/")
    assert 7_000 < made["expires"] - plane.wiring.now() <= 7_201
    assert made["scope"]["columns"] == ["id", "mail"]
    assert {"columns", "rows", "bytes", "audience", "formats"} <= set(made["scope"])
    shown = await granted(settings, published, *options[:6])
    async for message in plane.subscribe(published, durable="reader", since="first", grant=shown["resource_url"]):
        assert (await message.rows()) == [{"id": 1, "mail": "1@example.org"}, {"id": 3, "mail": "3@example.org"}]
        break


async def test_it_lives_for_a_day_and_a_pipe_gets_its_url(plane: Plane, published: str, settings: Settings) -> None:
    made = await granted(settings, published)
    assert 86_000 < made["expires"] - plane.wiring.now() <= 86_401
    done = await command(settings, published)
    assert done.stdout.startswith(f"{URL}/v1/feeds/")
    assert len(done.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("crm.contcats",), "There is no feed crm.contcats here"),
        (("{feed}", "--columns", "id,phone"), "phone"),
        (("{feed}", "--where", "phone = 1"), "phone"),
        (("{feed}", "--ttl", "0"), "too small"),
        (("{feed}", "--uses", "0"), "not between 1 and"),
    ],
)
async def test_what_it_cannot_grant_is_one_sentence(
    published: str, settings: Settings, words: tuple[str, ...], said: str
) -> None:
    done = await command(settings, *(word.format(feed=published) for word in words))
    assert done.exit_code in (1, 2)
    assert said in " ".join(done.output.split())
