"""Levels 2 and 1.5: code is written once, replayed without a model, and written anew when it no longer works."""

from __future__ import annotations

import asyncio
import gc
import gzip
import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import anyio
import pytest

from broker_plane.client.trust import Trust
from broker_plane.errors import (
    DescriptorExpiredError,
    LevelsError,
    ProviderError,
    SandboxUnavailableError,
    TooLargeError,
    TransferInterruptedError,
    UnsupportedProtocolError,
    WireError,
)
from broker_plane.levels.code_runs import CodeRunner, input_digest
from broker_plane.levels.keys import code_key
from broker_plane.levels.learned import LearnedTransfers
from broker_plane.levels.ports import Generated
from broker_plane.sandbox.ladder import Ladder
from broker_plane.testing.processes import until
from broker_plane.transfer.fetch import Transfers
from broker_plane.transfer.reach import Reach
from tests.levels import api as sources
from tests.levels.api import BODY, GOOD, GOOD_2, OTHER_HOST, RAISES, SHORT, SILENT, TOKEN, PagedApi, Plant, Writer

pytestmark = pytest.mark.anyio


async def test_code_is_written_once_and_then_replayed(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    writer = Writer(GOOD)
    first = await planted.transfers(writer).carry_out(api.describe(), tmp_path / "one")
    second = await planted.transfers(None).carry_out(api.describe("/v1/items/18?view=few"), tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == BODY
    assert (first.level, first.provider_calls, second.level, second.provider_calls) == ("2", 1, "1.5", 0)
    assert first.sha256 == second.sha256 == hashlib.sha256(BODY).hexdigest()
    assert (first.bytes, first.input_tokens, second.input_tokens) == (len(BODY), 100, None)
    assert first.rung == second.rung == Ladder().available()[0]
    assert writer.calls == 1


@pytest.mark.parametrize("number", [1 << 60, "\ud800"], ids=["number", "surrogate"])
async def test_what_cannot_be_logged_is_not_run(planted: Plant, api: PagedApi, tmp_path: Path, number: object) -> None:
    """Otherwise a descriptor could have code run of which there is no record."""
    writer = Writer(GOOD)
    with pytest.raises(WireError):
        await planted.transfers(writer).carry_out(api.describe(parameter=number), tmp_path / "body")
    assert (writer.calls, api.asked) == (0, [])


async def test_code_that_no_encoding_holds_fails_like_any_other(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    writer = Writer("\ud800\n", GOOD)
    await planted.transfers(writer).carry_out(api.describe(), tmp_path / "body")
    assert (tmp_path / "body").read_bytes() == BODY
    assert await planted.statuses() == [("2", "failed"), ("2", "ok")]


async def test_a_provider_that_does_not_answer_frees_its_claim(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    class Silent:
        name = "silent"

        async def generate(self, _: str) -> Generated:
            await anyio.sleep_forever()
            raise AssertionError

    waiting = planted.transfers(Silent(), generation_seconds=0.2)
    with pytest.raises(ProviderError, match="silent took longer than"):
        await waiting.carry_out(api.describe(), tmp_path / "one")
    with anyio.fail_after(20):
        await planted.transfers(Writer(GOOD)).carry_out(api.describe(), tmp_path / "two")
    assert (tmp_path / "two").read_bytes() == BODY


async def test_transfers_yield_the_bytes_and_known_protocols_never_get_here(
    planted: Plant, api: PagedApi, tmp_path: Path
) -> None:
    writer = Writer(GOOD)
    reach = Reach(trust=Trust(), networks=["127.0.0.1/32"])
    transfers = Transfers(reach, max_bytes=64 << 20, learned=planted.transfers(writer))
    assert await transfers.fetch(api.describe()) == BODY
    assert (await transfers.fetch_to(api.describe(), tmp_path / "body")).size == len(BODY)
    assert writer.calls == 1
    page = {"size_hint": sources.PAGE, "checksum": None}
    known = api.describe("/v1/items/1?page=0", protocol="http", **page)
    assert await transfers.fetch(known) == BODY[: sources.PAGE]
    assert writer.calls == 1
    assert len(await planted.records()) == 2


async def test_a_failure_is_fed_back_once_and_then_the_tier_goes_up(
    planted: Plant, api: PagedApi, tmp_path: Path
) -> None:
    tiers = {"mid": {"text": "More."}, "full": {"text": "All of it."}}
    description = {"tier": "high", "text": "Some.", "tiers": tiers}
    writer = Writer(RAISES, SHORT, RAISES, SILENT, GOOD)
    outcome = await planted.transfers(writer).carry_out(api.describe(description=description), tmp_path / "body")
    assert (outcome.provider_calls, outcome.output_tokens) == (5, 50)
    told = [(each["tier"], each["text"], (each["failure"] or {}).get("status")) for each in writer.prompts]
    assert told == [
        ("high", "Some.", None),
        ("high", "Some.", "failed"),
        ("mid", "More.", None),
        ("mid", "More.", "failed"),
        ("full", "All of it.", None),
    ]
    assert "there is no such page" in writer.prompts[1]["failure"]["detail"]
    records = await planted.records()
    assert [(each.attempt, each.tier, each.status) for each in records] == [
        (1, "high", "failed"),
        (2, "high", "wrong_output"),
        (3, "mid", "failed"),
        (4, "mid", "wrong_output"),
        (5, "full", "ok"),
    ]


async def test_after_the_last_tier_it_ends_and_nothing_is_cached(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    writer = Writer(RAISES, SHORT)
    with pytest.raises(LevelsError, match=r"in 2 runs \(the last: wrong_output\).*fallback is inline") as raised:
        await planted.transfers(writer).carry_out(api.describe(fallback="inline"), tmp_path / "body")
    assert raised.value.code == "levels"
    assert files_in(tmp_path) == []
    with pytest.raises(LevelsError) as raised:
        await planted.transfers(Writer(RAISES, SHORT)).carry_out(api.describe(), tmp_path / "body")
    assert "inline" not in str(raised.value)
    assert [entry async for entry in planted.cache.entries()] == []


async def test_a_refusal_is_fed_back_once_and_a_second_one_ends_it(
    planted: Plant, api: PagedApi, tmp_path: Path
) -> None:
    description = {"tier": "high", "text": "Some.", "tiers": {"mid": {"text": "More."}}}
    writer = Writer(OTHER_HOST, GOOD)
    await planted.transfers(writer).carry_out(api.describe(description=description), tmp_path / "body")
    assert writer.prompts[1]["failure"]["status"] == "refused"
    writer = Writer(OTHER_HOST, OTHER_HOST, GOOD)
    other = {**description, "text": "Another."}
    with pytest.raises(LevelsError, match="refused"):
        await planted.transfers(writer).carry_out(api.describe(description=other), tmp_path / "body")
    assert writer.calls == 2


async def test_a_changed_api_is_healed_by_one_regeneration(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    await planted.transfers(Writer(GOOD)).carry_out(api.describe(), tmp_path / "body")
    api.version = 2
    writer = Writer(GOOD_2)
    healed = await planted.transfers(writer).carry_out(api.describe(), tmp_path / "healed")
    assert (healed.level, healed.provider_calls) == ("2", 1)
    assert writer.prompts[0]["failure"]["status"] == "failed"
    assert "status 400" in writer.prompts[0]["failure"]["detail"]  # the answer of the new API
    assert (tmp_path / "healed").read_bytes() == BODY
    assert writer.prompts[0]["failure"]["status"] == "failed"  # so that a model sees what the API says now
    again = await planted.transfers(None).carry_out(api.describe(), tmp_path / "again")
    assert (again.level, again.provider_calls) == ("1.5", 0)
    (entry,) = [entry async for entry in planted.cache.entries()]
    assert (entry.counts.hits, entry.counts.misses, entry.counts.failures) == (1, 1, 1)
    assert entry.counts.failures_in_row == 0
    assert await planted.statuses() == [("2", "ok"), ("1.5", "failed"), ("2", "ok"), ("1.5", "ok")]


@pytest.mark.parametrize("code", [RAISES, SHORT, SILENT, OTHER_HOST, "while True:\n    emit(bytes(70000))\n"])
async def test_cached_code_that_fails_in_any_way_is_replaced(
    planted: Plant, api: PagedApi, tmp_path: Path, code: str
) -> None:
    await _cache(planted, api, code)
    writer = Writer(GOOD)
    outcome = await planted.transfers(writer).carry_out(api.describe(), tmp_path / "body")
    assert (outcome.level, writer.calls) == ("2", 1)
    assert (tmp_path / "body").read_bytes() == BODY


async def test_the_cache_alone_never_asks_and_drops_what_keeps_failing(
    planted: Plant, api: PagedApi, tmp_path: Path
) -> None:
    cached = planted.transfers(None)
    with pytest.raises(UnsupportedProtocolError, match="no code for this endpoint in the cache"):
        await cached.carry_out(api.describe(), tmp_path / "body")
    await planted.transfers(Writer(GOOD)).carry_out(api.describe(), tmp_path / "body")
    api.version = 2
    for _ in range(3):
        with pytest.raises(LevelsError, match=r"cached code for x-paged failed \(failed\)"):
            await cached.carry_out(api.describe(), tmp_path / "body")
    with pytest.raises(UnsupportedProtocolError):
        await cached.carry_out(api.describe(), tmp_path / "body")


async def test_an_endpoint_that_is_down_costs_no_code_and_no_call(planted: Plant, tmp_path: Path) -> None:
    with sources.paged_api() as api:
        await planted.transfers(Writer(GOOD)).carry_out(api.describe(), tmp_path / "body")
    writer = Writer(GOOD)
    with pytest.raises(TransferInterruptedError, match="cannot be reached"):
        await planted.transfers(writer).carry_out(api.describe(), tmp_path / "body")
    (entry,) = [entry async for entry in planted.cache.entries()]
    assert (writer.calls, entry.counts.failures) == (0, 0)


async def test_output_is_bounded_while_it_is_emitted(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    endless = "while True:\n    emit(bytes(65536))\n"
    transfers = planted.transfers(Writer(endless, GOOD), unsized=1 << 20)
    with pytest.raises(TooLargeError, match="more than 1048576 bytes"):
        await transfers.carry_out(api.describe(size_hint=None, checksum=None), tmp_path / "body")
    (record,) = await planted.records()
    assert record.status == "limit"
    assert record.output_bytes <= (1 << 20) + 65536
    writer = Writer(endless, GOOD)
    await planted.transfers(writer).carry_out(api.describe(), tmp_path / "body")
    assert writer.prompts[1]["failure"]["status"] == "wrong_output"


@pytest.mark.parametrize(
    ("code", "detail"),
    [
        ('emit(b"not gzip at all")\n', "gzip"),
        ("emit(PARAMETERS_OF)\n", "PARAMETERS_OF"),
    ],
)
async def test_what_the_next_prompt_is_given_says_what_was_wrong(
    planted: Plant, api: PagedApi, tmp_path: Path, code: str, detail: str
) -> None:
    writer = Writer(code, RAISES)
    with pytest.raises(LevelsError):
        await planted.transfers(writer).carry_out(api.describe(compression="gzip"), tmp_path / "body")
    assert detail in writer.prompts[1]["failure"]["detail"]


async def test_compressed_output_is_checked_after_decompression(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    text = b"rows\n" * 1000
    said: dict[str, Any] = {
        "size_hint": len(text),
        "checksum": "sha256:" + hashlib.sha256(text).hexdigest(),
        "compression": "gzip",
    }
    packed = gzip.compress(text, mtime=0).hex()
    code = f'import binascii\nemit(binascii.unhexlify("{packed}"))\n'
    outcome = await planted.transfers(Writer(code)).carry_out(api.describe(**said), tmp_path / "body")
    assert (tmp_path / "body").read_bytes() == text
    assert (outcome.bytes, outcome.sha256) == (len(text), hashlib.sha256(text).hexdigest())
    reach = Reach(trust=Trust(), networks=["127.0.0.1/32"])
    transfers = Transfers(reach, max_bytes=64 << 20, learned=planted.transfers(None))
    assert await transfers.fetch(api.describe(**said)) == text


async def test_inputs_reach_the_code_and_the_credential_does_not(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    code = (
        "import json\n"
        'emit(json.dumps([ENDPOINT, FORMAT, METHOD, SIZE_HINT, PARAMETERS["shelf"], sorted(PARAMETERS)]).encode())\n'
    )
    descriptor = api.describe(shelf={"a": 1}, method="GET", size_hint=None, checksum=None)
    await planted.transfers(Writer(code)).carry_out(descriptor, tmp_path / "body")
    assert (tmp_path / "body").read_text() == (
        f'["{descriptor.endpoint}", "application/octet-stream", "GET", null, {{"a": 1}}, ["shelf"]]'
    )


def test_the_digest_of_an_input_is_free_of_the_credential_and_binds_everything_else(api: PagedApi) -> None:
    fields: dict[str, Any] = {"transfer_id": "f0f0f0f0-0000-4000-8000-000000000000"}
    digest = input_digest(api.describe(**fields), "prompt")
    assert input_digest(api.describe(**fields, auth={"type": "bearer", "value": "another"}), "prompt") == digest
    assert input_digest(api.describe(**fields, auth=None), "prompt") != digest
    assert input_digest(api.describe("/v1/items/18?view=all", **fields), "prompt") != digest
    assert input_digest(api.describe(**fields), "another") != digest
    assert input_digest(api.describe(**fields), "") != digest


async def test_an_empty_body_may_be_right_and_proves_nothing_of_its_code(
    planted: Plant, api: PagedApi, tmp_path: Path
) -> None:
    empty = api.describe(size_hint=0, checksum="sha256:" + hashlib.sha256(b"").hexdigest())
    outcome = await planted.transfers(Writer(SILENT)).carry_out(empty, tmp_path / "body")
    assert (outcome.bytes, (tmp_path / "body").read_bytes()) == (0, b"")
    assert [entry async for entry in planted.cache.entries()] == []


async def test_an_expired_descriptor_runs_nothing(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    await planted.transfers(Writer(GOOD)).carry_out(api.describe(), tmp_path / "body")
    writer = Writer(GOOD)
    expired = api.describe(expires=(datetime.now(UTC) - timedelta(seconds=1)).isoformat())
    with pytest.raises(DescriptorExpiredError):
        await planted.transfers(writer).carry_out(expired, tmp_path / "other")
    assert (writer.calls, len(await planted.records())) == (0, 1)


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"description": None}, "no description"),
        ({"endpoint": "no-host:///path"}, "needs an endpoint with a host"),
        ({"mode": "push"}, "mode push"),
    ],
)
async def test_what_code_cannot_carry_out_is_refused_by_name(
    planted: Plant, api: PagedApi, tmp_path: Path, fields: dict[str, Any], reason: str
) -> None:
    writer = Writer(GOOD)
    with pytest.raises(UnsupportedProtocolError, match=reason):
        await planted.transfers(writer).carry_out(api.describe(**fields), tmp_path / "body")
    assert writer.calls == 0


async def test_without_a_sandbox_or_a_provider_nothing_runs(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    runner = CodeRunner(Ladder([]), sources.open_door, planted.log, max_seconds=5, now=lambda: 0.0)
    writer = Writer(GOOD)
    bare = LearnedTransfers(
        runner, planted.cache, prompt=sources.prompt, provider=writer, sized=1 << 30, unsized=1 << 20, now=lambda: 0.0
    )
    with pytest.raises(SandboxUnavailableError):
        await bare.carry_out(api.describe(), tmp_path / "body")
    assert writer.calls == 0

    class Mute(Writer):
        async def generate(self, prompt: str) -> Any:
            raise ProviderError("no answer")

    with pytest.raises(ProviderError):
        await planted.transfers(Mute()).carry_out(api.describe(), tmp_path / "body")
    assert api.asked == []
    assert await planted.records() == []
    async with planted.cache.claimed(code_key(api.describe())) as claimed:
        assert claimed  # given up at once, and not only after its time


async def test_a_cancelled_transfer_leaves_no_claim_no_file_and_no_connection(
    planted: Plant, api: PagedApi, tmp_path: Path
) -> None:
    api.gate.clear()
    before = open_files()
    task = asyncio.create_task(planted.transfers(Writer(GOOD)).carry_out(api.describe(), tmp_path / "body"))
    await until(lambda: api.asked, "the code to ask for its first page")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    api.gate.set()
    assert files_in(tmp_path) == []
    await until(lambda: open_files() <= before, "its files and connections to be closed")
    with anyio.fail_after(5):
        async with planted.cache.claimed(code_key(api.describe())) as claimed:
            assert claimed


async def test_no_secret_reaches_the_log_or_the_next_prompt(planted: Plant, api: PagedApi, tmp_path: Path) -> None:
    """The API repeats the credential in its errors, and the code repeats the endpoint in its own."""
    tell = (
        'answer = fetch(ENDPOINT)\nraise ValueError("PARAM: " + answer["body"].decode() + " " + ENDPOINT + " " '
        '+ ENDPOINT.split("?")[1])\n'
    )
    writer = Writer(tell, tell)
    descriptor = api.describe("/v1/items/17?signature=c2lnbmF0dXJl")
    with pytest.raises(LevelsError) as raised:
        await planted.transfers(writer).carry_out(descriptor, tmp_path / "body")
    stored = b"".join([raw async for _, raw, _ in planted.runs.entries()])
    stored += b"".join([raw async for _, raw, _ in planted.code.entries()])
    said = stored.decode() + str(writer.prompts) + str(raised.value)
    assert "PARAM: " in said
    for secret in (TOKEN, "/v1/items/17", "signature=", "c2lnbmF0dXJl"):
        assert secret not in said
    records = await planted.records()
    assert records[0].endpoint == api.url
    assert records[0].source == tell
    assert all(len(record.input_digest) == 64 for record in records)
    assert records[0].input_digest != records[1].input_digest  # the second prompt has the failure


def files_in(directory: Path) -> list[str]:
    return [path.name for path in directory.iterdir()]


def open_files() -> int:
    """The number of files, pipes and connections that this process has open."""
    gc.collect()
    return len(files_in(Path("/proc/self/fd")))


async def _cache(planted: Plant, api: PagedApi, code: str) -> None:
    """Put code into the cache that worked once."""
    await planted.cache.save(sources.entry(code_key(api.describe()), code))
