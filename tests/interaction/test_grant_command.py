"""`broker-plane grant`: the same narrowing on the command line, and a new grant for an own body."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import GrantUsedError
from broker_plane.wire.grant import uses_of
from broker_plane.wire.names import body_id
from tests import forked

pytestmark = pytest.mark.anyio

ROWS = [{"event": f"e{row}", "level": row} for row in range(10)]
Run = Callable[..., Awaitable[tuple[int, str, str]]]


@pytest.fixture
def run(settings: Settings) -> Run:
    """`await run("grant", …)`: exit code, standard output, standard error."""

    async def command(*arguments: str) -> tuple[int, str, str]:
        env = os.environ | {"BROKER_PLANE_NATS_URL": settings.nats_url, "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:9"}
        done = await asyncio.to_thread(partial(forked.run, "broker_plane.cli.main", *arguments, env=env))
        return done.returncode, done.stdout, done.stderr

    return command


async def grant(run: Run, *arguments: str) -> dict[str, Any]:
    code, out, err = await run("grant", *arguments, "--json")
    assert code == 0, err
    made: dict[str, Any] = json.loads(out)
    return made


async def test_a_url_is_narrowed_and_keeps_its_bridge(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS, uses="unlimited")
        made = await grant(
            run,
            published.resource_url,
            *("--where", "level >= 5", "--columns", "event", "--rows", "0-6,9", "--first", "2", "--uses", "1"),
        )
        assert made["resource_url"].startswith(plane.bridge_url)
        assert made["grant_id"] == published.transfer_id.replace("-", "")
        assert made["scope"] == {
            "columns": ["event"],
            "rows": [{"ids": "0-6,9"}, {"where": "level >= 5"}, {"first": 2}],
        }
        assert made["expires"] == published.body.expires
        assert made["subject"] is None  # of no use to guests here: this NATS has no accounts
        assert await plane.pull(made["resource_url"].rpartition("/")[2]) == [{"event": "e5"}, {"event": "e6"}]
        with pytest.raises(GrantUsedError):
            await plane.pull(made["resource_url"])


async def test_the_id_of_an_own_body_gives_a_new_grant(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS)
        made = await grant(run, published.body.id, "--uses", "unlimited", "--columns", "level", "--ttl", "60")
        assert made["grant_id"] != published.transfer_id.replace("-", "")
        assert made["expires"] < published.body.expires
        bare = made["resource_url"].rpartition("/")[2]  # the bridge of that command is gone
        assert uses_of(bare) == 0
        for _ in range(2):
            assert await plane.pull(bare, row_ids=[3]) == [{"level": 3}]


async def test_what_would_not_be_less_is_one_line_and_exit_1(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS)
    for arguments, says in (
        (("--uses", "unlimited"), "counts its uses"),
        (("--where", "level >"), "where, at character 8: expected a number"),
        (("--rows", "5-1"), "is neither"),
        (("--audience", "a b"), "cannot be narrowed to audience"),
    ):
        code, out, err = await run("grant", published.resource_url, *arguments)
        assert (code, out) == (1, "")
        assert says in err
        assert published.grant not in err


@pytest.mark.parametrize(("given", "said"), [("1", "1 delivery"), ("3", "3 deliveries"), ("unlimited", "unlimited")])
async def test_the_command_line_says_how_many_uses_a_url_has(
    settings: Settings, run: Run, given: str, said: str
) -> None:
    async with Plane.connect(settings) as plane:
        published = await plane.publish(ROWS, uses="unlimited")
        code, out, err = await run("grant", published.resource_url, "--uses", given)
        made = await grant(run, published.resource_url, "--uses", given)
    assert code == 0 and len(out.splitlines()) == 1
    assert f"uses: {said}" in err
    assert made["uses"] == (int(given) if given.isdigit() else given)


async def test_the_grant_of_a_session_is_narrowed_and_says_what_it_cannot_have(settings: Settings, run: Run) -> None:
    async with Plane.connect(settings) as plane:
        wired = plane._user_plane()
        session = body_id(os.urandom(16))
        whole = await wired.grants.minting.mint_session(session, "editor", int(wired.now()) + 600)
        url = f"{plane.bridge_url}/v1/sessions/{whole}"
        made = await grant(run, url, "--role", "reviewer", "--intent", "review", "--participant", "anna")
        assert made["resource_url"].startswith(f"{plane.bridge_url}/v1/sessions/")
        assert made["scope"] == {"role": "reviewer", "intent": "review", "participant": "anna"}
        for words, said in (
            (("--role", "boss"), "editor, reviewer and observer"),
            (("--intent", "Big idea"), "1 to 32 characters"),
            (("--columns", "a"), "can be narrowed by role"),
        ):
            code, out, err = await run("grant", url, *words)
            assert (code, out) == (1, "")
            assert said in err
