"""`plane.levels` and `plane.transfers`: off by default, by setting, by call, and within all lists of hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker_plane import CodeEntry, Generated, Plane, sync
from broker_plane.config import Settings, load_settings
from broker_plane.errors import (
    ConfigError,
    LevelsError,
    NotPermittedError,
    UnsupportedProtocolError,
    UntrustedHostError,
    WireError,
)
from broker_plane.testing.server import NatsServer
from tests.levels.api import BODY, GOOD, PAGE, RAISES, TOKEN, PagedApi, Writer

pytestmark = pytest.mark.anyio
Configure = Callable[..., Settings]


@pytest.fixture
def configured(nats_server: NatsServer, tmp_path: Path) -> Configure:
    """Settings of a plane that reaches loopback. Tests have one code cache, and each an API on a port of its own."""

    def settings(**fields: Any) -> Settings:
        basis = {"nats_url": nats_server.url, "data_dir": tmp_path, "bridge_url": "http://127.0.0.1:9"}
        return load_settings(**{**basis, "transfer_networks": "127.0.0.1/32"} | fields)

    return settings


async def entries(plane: Plane, api: PagedApi) -> list[CodeEntry]:
    return [entry for entry in await plane.levels.entries() if entry.endpoint == api.url]


async def statuses(plane: Plane, api: PagedApi) -> list[str]:
    return [record.status async for record in plane.levels.log() if record.endpoint == api.url]


async def ask(prompt: str) -> Generated:
    """A function that a user brings: it sees what a model would see."""
    assert "Pages of bytes" in prompt
    assert "fetch(url" in prompt
    assert TOKEN not in prompt
    return Generated(f"Here it is:\n```python\n{GOOD}```\n", 900, 80)


async def test_the_levels_are_off_unless_a_setting_or_a_call_asks_for_them(
    configured: Configure, api: PagedApi, tmp_path: Path
) -> None:
    async with Plane.connect(configured()) as plane:
        with pytest.raises(UnsupportedProtocolError, match="A model can write one from its description"):
            await plane.transfers.fetch(api.describe())
        with pytest.raises(UnsupportedProtocolError, match="BROKER_PLANE_LEVELS=generate, or name a provider"):
            await plane.levels.run(api.describe(), tmp_path / "body")
        assert api.asked == []
        first = await plane.levels.run(api.describe(), tmp_path / "body", provider=ask)
        assert (first.level, first.provider_calls, first.input_tokens, first.output_tokens) == ("2", 1, 900, 80)
        assert (tmp_path / "body").read_bytes() == BODY
        again = await plane.levels.run(api.describe(), tmp_path / "again")
        assert (again.level, again.provider_calls) == ("1.5", 0)
        with pytest.raises(UnsupportedProtocolError):  # `transfers` still do not
            await plane.transfers.fetch(api.describe())


async def test_by_setting_transfers_run_cached_code_or_have_it_written(
    configured: Configure, api: PagedApi, tmp_path: Path
) -> None:
    asked = tmp_path / "asked"
    program = tmp_path / "write"
    program.write_text(f"#!/bin/sh\ncat > /dev/null\necho x >> {asked}\ncat <<'END'\n{GOOD}END\n")
    program.chmod(0o700)
    command = f"command:{program}"
    async with Plane.connect(configured(levels="cached", levels_provider=command)) as plane:
        with pytest.raises(UnsupportedProtocolError, match="no code for this endpoint in the cache"):
            await plane.transfers.fetch(api.describe())
    assert not asked.exists()
    async with Plane.connect(configured(levels="generate", levels_provider=command)) as plane:
        assert await plane.transfers.fetch(api.describe()) == BODY
    assert asked.read_text() == "x\n"
    async with Plane.connect(configured(levels="cached", levels_provider=command)) as plane:
        assert (await plane.transfers.fetch_to(api.describe(), tmp_path / "body")).size == len(BODY)
        api.version = 2
        with pytest.raises(LevelsError, match="cached code"):
            await plane.transfers.fetch(api.describe())
    assert asked.read_text() == "x\n"
    with pytest.raises(ConfigError, match="BROKER_PLANE_LEVELS_PROVIDER"):
        async with Plane.connect(configured(levels="generate")) as plane:
            _ = plane.transfers


async def test_a_known_protocol_is_level_1_even_with_a_provider(
    configured: Configure, api: PagedApi, tmp_path: Path
) -> None:
    writer = Writer(GOOD)
    async with Plane.connect(configured(levels="cached")) as plane:
        known = api.describe("/v1/items/1?page=0", protocol="http", size_hint=PAGE, checksum=None)
        outcome = await plane.levels.run(known, tmp_path / "body", provider=writer)
        assert (outcome.level, outcome.provider_calls, outcome.rung, outcome.bytes) == ("1", 0, None, PAGE)
        assert (tmp_path / "body").read_bytes() == BODY[:PAGE]
        assert writer.calls == 0
        assert await statuses(plane, api) == []


@pytest.mark.parametrize("refusing", ["client", "operator", "server", "networks"])
async def test_code_reaches_only_what_all_lists_have(
    configured: Configure, api: PagedApi, tmp_path: Path, refusing: str
) -> None:
    settings = configured(
        levels_hosts="data.example" if refusing == "operator" else "127.0.0.1",
        transfer_networks="10.0.0.0/8" if refusing == "networks" else "127.0.0.1/32",
    )
    sandbox = {"runtime": "python", "allowed_hosts": ["data.example" if refusing == "server" else "127.0.0.1"]}
    allow = ["data.example:1"] if refusing == "client" else [f"127.0.0.1:{api.server_port}"]
    async with Plane.connect(settings) as plane:
        # If the client itself does not allow the endpoint, no code is written.
        runs = ["refused", "refused"] if refusing == "server" else []
        with pytest.raises(LevelsError if runs else UntrustedHostError):
            await plane.levels.run(
                api.describe(sandbox=sandbox), tmp_path / "body", provider=Writer(GOOD, GOOD), allow=allow
            )
        assert api.asked == []
        assert await statuses(plane, api) == runs


async def test_entries_are_shown_and_forgotten_by_the_beginning_of_their_key(
    configured: Configure, api: PagedApi, tmp_path: Path
) -> None:
    async with Plane.connect(configured()) as plane:
        await plane.levels.run(api.describe(), tmp_path / "body", provider=ask)
        (entry,) = await entries(plane, api)
        assert (entry.protocol, entry.endpoint, entry.provider) == ("x-paged", api.url, "function:ask")
        assert (await plane.levels.show(entry.key[:12])).source == GOOD
        for wrong in ("", entry.key[:5], "0" * 64):
            with pytest.raises(WireError):
                await plane.levels.show(wrong)
        assert (await plane.levels.forget(entry.key)).key == entry.key
        assert await entries(plane, api) == []
        with pytest.raises(WireError, match="No key"):
            await plane.levels.forget(entry.key)


def test_the_synchronous_plane_has_them_too(configured: Configure, api: PagedApi, tmp_path: Path) -> None:
    with sync.Plane.connect(configured()) as plane:
        outcome = plane.levels.run(api.describe(), tmp_path / "body", provider=ask)
        assert (outcome.level, (tmp_path / "body").read_bytes()) == ("2", BODY)
        assert [record.status for record in plane.levels.log() if record.endpoint == api.url] == ["ok"]
        assert [entry.source for entry in plane.levels.entries() if entry.endpoint == api.url] == [GOOD]


async def test_a_guest_has_no_cache_and_says_so(configured: Configure, api: PagedApi) -> None:
    async with Plane.connect(configured(role="guest", levels="cached")) as plane:
        with pytest.raises(UnsupportedProtocolError):
            await plane.transfers.fetch(api.describe())
        with pytest.raises(NotPermittedError):
            await plane.levels.entries()


async def test_each_call_may_have_another_provider_at_the_same_time(
    configured: Configure, api: PagedApi, tmp_path: Path
) -> None:
    async with Plane.connect(configured()) as plane:
        other = api.describe(description={"tier": "high", "text": "Another protocol."})
        writers = Writer(RAISES, GOOD), Writer(GOOD)
        outcomes = await asyncio.gather(
            plane.levels.run(api.describe(), tmp_path / "one", provider=writers[0]),
            plane.levels.run(other, tmp_path / "two", provider=writers[1]),
        )
        assert [outcome.provider_calls for outcome in outcomes] == [2, 1]


async def test_a_provider_of_a_call_suffices_and_progress_is_reported(
    configured: Configure, api: PagedApi, tmp_path: Path
) -> None:
    reports: list[tuple[int, int | None]] = []
    async with Plane.connect(configured(levels="generate")) as plane:
        outcome = await plane.levels.run(
            api.describe(), tmp_path / "body", provider=ask, progress=lambda *report: reports.append(report)
        )
        with pytest.raises(ConfigError, match="BROKER_PLANE_LEVELS_PROVIDER"):
            await plane.transfers.fetch(api.describe())
    assert outcome.level == "2"
    assert reports[-1][0] == len(BODY)
    assert [done for done, _ in reports] == sorted(done for done, _ in reports)
