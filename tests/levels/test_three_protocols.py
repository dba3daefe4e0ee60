"""Three protocols without a handler, with real processes: learned once, cached for all processes, learned anew."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from broker_plane.testing.server import NatsServer
from demos.levels_protocols import PROTOCOLS
from demos.levels_rows import csv_of, digest_of
from demos.levels_stage import SCRIPTED_CALLS
from tests.levels.clients import Clients, Ran
from tests.levels.foreign import Foreign, foreign

CANARY = "canary-1f6f8b-of-a-test"
ROWS = 700


@dataclass(frozen=True, slots=True)
class Story:
    """What happened to the three protocols in four processes, one after the other."""

    clients: Clients
    runs: dict[str, list[Ran]]
    log: list[dict[str, Any]]
    """The log of the runs of generated code, as `levels log` prints it."""


def play(clients: Clients, servers: Sequence[Foreign]) -> list[list[Ran]]:
    """Four processes; before the third, the API of each server changes, of one by a restart."""
    descriptors = [server.descriptor for server in servers]
    before = [clients.run_all(descriptors) for _ in range(2)]
    for server in servers:
        if server.protocol == "x-framed-tcp":
            server.restart(2)
        else:
            server.change_api()
    return [*before, *(clients.run_all(descriptors) for _ in range(2))]


@pytest.fixture(scope="module")
def story(nats_server: NatsServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Story]:
    clients = Clients(nats_server.url, tmp_path_factory.mktemp("levels"))
    with ExitStack() as stack:
        servers = [stack.enter_context(foreign(name, secret=CANARY, rows=ROWS)) for name in PROTOCOLS]
        played = play(clients, servers)
        log = clients.command("levels", "log", "--source", "--limit", "0", "--json")
        assert log.returncode == 0, log.stderr
        places = {urlsplit(server.descriptor["endpoint"]).netloc for server in servers}
        ours = [record for record in json.loads(log.stdout) if urlsplit(record["endpoint"]).netloc in places]
        yield Story(clients, dict(zip(PROTOCOLS, map(list, zip(*played, strict=True)), strict=True)), ours)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_the_file_arrives_every_time_with_the_digest_of_its_descriptor(story: Story, protocol: str) -> None:
    for ran in story.runs[protocol]:
        assert "error" not in ran.said, ran.text
        assert ran.content == csv_of(ROWS)
        assert ran.said["bytes"] == len(csv_of(ROWS))
        assert ran.said["rung"]


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_it_is_learned_once_then_cached_and_learned_once_more_after_the_change(story: Story, protocol: str) -> None:
    expected = [("2", SCRIPTED_CALLS[protocol]), ("1.5", 0), ("2", 1), ("1.5", 0)]
    assert [ran.level for ran in story.runs[protocol]] == expected
    assert story.clients.calls(protocol) == SCRIPTED_CALLS[protocol] + 1


def test_the_log_has_every_run_with_its_code_and_how_the_wrong_ones_ended(story: Story) -> None:
    runs = {
        name: [(record["level"], record["status"]) for record in story.log if record["protocol"] == name]
        for name in PROTOCOLS
    }
    after = [("2", "ok"), ("1.5", "ok"), ("1.5", "failed"), ("2", "ok"), ("1.5", "ok")]
    assert runs == {
        "x-signed-pages": after,
        "x-framed-tcp": [("2", "failed"), *after],
        "x-ticker-events": [("2", "wrong_output"), *after],
    }
    assert all("emit(" in record["source"] and len(record["input_digest"]) == 64 for record in story.log)
    assert {record["output_digest"] for record in story.log if record["status"] == "ok"} == {digest_of(ROWS)}


def test_no_credential_is_in_code_log_prompt_cache_or_output(story: Story, nats_server: NatsServer) -> None:
    assert not [text for text in story.clients.texts if CANARY in text]
    kept = {
        path: path.read_bytes()
        for root in (nats_server.root, story.clients.directory)
        for path in root.rglob("*")
        if path.is_file() and path.suffix != ".descriptor"
    }
    assert any(path.name.startswith("prompt-") for path in kept)
    assert any(b"hmac_sha256((" in content for path, content in kept.items() if "jetstream" in path.parts)
    assert not [path for path, content in kept.items() if CANARY.encode() in content]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("x-framed-tcp-2", "CRC mismatch"),
        ("x-ticker-events-2", "wrong_output"),
        ("x-signed-pages-2", "replaced by cursor"),
        ("x-framed-tcp-3", "This server speaks version 2"),
        ("x-ticker-events-3", "! framing 2"),
    ],
)
def test_the_provider_learns_how_the_code_before_failed_also_that_of_the_cache(
    story: Story, answer: str, said: str
) -> None:
    prompt = story.clients.prompt(answer)
    assert said in prompt
    assert "emit(" in prompt.split("```python", 1)[1]


@pytest.fixture
def clients(nats_server: NatsServer, tmp_path: Path) -> Clients:
    return Clients(nats_server.url, tmp_path)


def at_once(clients: Clients, protocol: str, count: int) -> None:
    """`count` processes meet a protocol at the same time."""
    with foreign(protocol, rows=300) as server, ThreadPoolExecutor(count) as pool:
        ran = [*pool.map(lambda _: clients.run(server.descriptor), range(count))]
    assert [each.content for each in ran] == [csv_of(300)] * count, [each.text for each in ran]
    assert {each.said["sha256"] for each in ran} == {digest_of(300)}
    assert sum(each.said["provider_calls"] for each in ran) == clients.calls(protocol) == SCRIPTED_CALLS[protocol]
    assert sorted(each.said["level"] for each in ran) == ["1.5"] * (count - 1) + ["2"]


def test_two_processes_that_meet_a_protocol_at_once_have_it_learned_once(clients: Clients) -> None:
    at_once(clients, "x-framed-tcp", 2)


def test_bytes_with_another_checksum_never_become_a_file(clients: Clients) -> None:
    with foreign("x-signed-pages", secret=CANARY, rows=300) as server:
        ran = clients.run(server.descriptor | {"checksum": f"sha256:{digest_of(299)}"})
        assert json.loads(ran.text.splitlines()[-1])["error"]["code"] == "levels"
        assert (ran.content, CANARY in ran.text) == (None, False)
        assert [path.suffix for path in clients.directory.glob("1-*")] == [".descriptor"]
        entries = json.loads(clients.command("levels", "ls", "--json").stdout)
        assert not [entry for entry in entries if entry["endpoint"].endswith(f":{server.port}")]


@pytest.mark.full
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_eight_processes_that_meet_a_protocol_at_once_have_it_learned_once(clients: Clients, protocol: str) -> None:
    at_once(clients, protocol, 8)


@pytest.mark.full
def test_a_megabyte_arrives(clients: Clients) -> None:
    with ExitStack() as stack:
        servers = [stack.enter_context(foreign(name, rows=60_000)) for name in PROTOCOLS]
        played = play(clients, servers)
    assert all(ran.content == csv_of(60_000) for phase in played for ran in phase), [ran.said for ran in played[-1]]
    assert [[ran.said["level"] for ran in phase] for phase in played] == [[level] * 3 for level in ("2", "1.5") * 2]
