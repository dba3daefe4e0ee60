"""Documents and routines of agora-protocol 0.2.0, made by it, in our registry and our sandbox. Nothing of theirs is
changed, but its model is scripted.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any
from uuid import uuid4

import anyio
import pytest
from msgspec.structs import replace

from broker_plane import Plane
from broker_plane.config import Settings
from broker_plane.errors import EntryNotFoundError, LevelsError, ProviderError, RegistryError
from broker_plane.levels.agora import AgoraRoutine
from broker_plane.registry.agora import (
    AgoraProtocol,
    agora_hash,
    agora_of,
    description_fields,
    of_data_uri,
    parse_agora,
    routine_of,
)
from tests.interop.conftest import HERE, ROOT, answer
from tests.interop.environments import python_with

WEATHER = """---
name: Weather Query
description: Ask for the temperature of a city in degrees Celsius.
multiround: false
---

# Query
`TEMP <city>`, in UTF-8.

# Answer
`OK <whole number>`, or `UNKNOWN` if the city is not known.
"""
ROUTINE = """
def send_query(task_data):
    answer = send_to_server("TEMP " + task_data["city"])
    if answer == "UNKNOWN":
        return None
    return int(answer[3:])
"""
REPLY = """
def reply(query):
    known = {"Oslo": -3, "Zürich": 7}
    city = query[5:]
    if city not in known:
        return "UNKNOWN"
    return "OK " + str(known[city])
"""
REPLY_IN_ROUNDS = (
    REPLY.replace("def reply(query):", "def reply(query, memory):")
    .replace('return "UNKNOWN"', 'return "UNKNOWN", memory')
    .replace("str(known[city])", "str(known[city]), memory")
)
SCHEMA = {
    "description": "The temperature of a city",
    "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
    "output_schema": {"type": "integer"},
}
SCRIPT = {
    "negotiation": f"We agree.\n<FINALPROTOCOL>\n{WEATHER}</FINALPROTOCOL>",
    "programming": f"```python\n<IMPLEMENTATION>{ROUTINE}</IMPLEMENTATION>\n```",
}
DOCUMENTS = [
    WEATHER,
    "---\nname: 'It''s quoted'\ndescription: \"with: a colon\"\nmultiround: true\n---\n",
    "---\nname: A\ndescription: a text\n  that goes on\n# a remark\nmultiround: False\n---\nbody --- more",
    "---\nname: Zürich 水\n---\nno description",
    "---\r\nname: Lines of another system\r\ndescription: x # a remark\r\n---\r\nbody\r\n",
]


@pytest.fixture(scope="session")
def agora_python() -> Path:
    """The interpreter of an environment with agora-protocol."""
    return python_with("agora", "agora-protocol==0.2.0")


@pytest.fixture(scope="session")
def theirs(agora_python: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What agora-protocol makes of DOCUMENTS and SCRIPT, and what it verifies of ours."""
    sources = [(parse_agora(text).hash, parse_agora(text).wire_sources[0]) for text in DOCUMENTS]
    question = {"documents": DOCUMENTS, "script": SCRIPT, "schema": SCHEMA, "sources": sources}
    program = [agora_python, HERE / "agora_makes.py"]
    made = anyio.run(answer, program, question, {}, tmp_path_factory.mktemp("agora"))
    assert isinstance(made, dict)
    return made


Receivers = Callable[[bool], str]
"""`receivers(multiround)`: the URL of Agora's own receiver, whose routine was written by the scripted model."""


@pytest.fixture(scope="session")
def receivers(agora_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Receivers]:
    with ExitStack() as stack:

        @cache
        def url(multiround: bool) -> str:
            reply = REPLY_IN_ROUNDS if multiround else REPLY
            script = {"protocolChecking": "Yes", "programming": f"<IMPLEMENTATION>{reply}</IMPLEMENTATION>"}
            directory = tmp_path_factory.mktemp("receiver")
            command = [agora_python, "-W", "ignore", HERE / "agora_receiver.py", directory, json.dumps(script)]
            log = stack.enter_context((directory / "log").open("w"))
            process = stack.enter_context(
                subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=log, cwd=directory)
            )
            stack.callback(process.kill)
            assert process.stdout is not None
            return str(json.loads(process.stdout.readline())["url"])

        yield url


@pytest.fixture
async def registry(settings: Settings) -> AsyncIterator[Plane]:
    """A plane with a registry that no other test has."""
    own = replace(settings, prefix=f"t{uuid4().hex[:8]}", transfer_networks="127.0.0.0/8")
    async with Plane.connect(own) as plane:
        yield plane


def weather(theirs: dict[str, Any]) -> AgoraProtocol:
    return parse_agora(theirs["negotiated"]["document"])


def test_hash_and_metadata_are_those_that_agora_computes(theirs: dict[str, Any]) -> None:
    for found in (*theirs["documents"], theirs["negotiated"]):
        ours = parse_agora(found["document"])
        assert ours.hash == found["hash"]
        assert {"name": ours.name, "description": ours.description, "multiround": str(ours.multiround)} == found[
            "metadata"
        ]
        assert of_data_uri(found["data_uri"], found["hash"]) == ours


def test_agora_verifies_our_sources(theirs: dict[str, Any]) -> None:
    assert theirs["verified"] == DOCUMENTS


def test_a_document_with_another_hash_is_refused(theirs: dict[str, Any]) -> None:
    with pytest.raises(RegistryError, match="hash"):
        of_data_uri(theirs["negotiated"]["data_uri"], agora_hash("another"))


@pytest.mark.anyio
async def test_a_document_registers_and_is_found_by_its_hash(registry: Plane, theirs: dict[str, Any]) -> None:
    protocol, found_hash = weather(theirs), theirs["negotiated"]["hash"]
    published = await registry.protocols.publish(description_fields(protocol, registry.settings.owner))
    await registry.protocols.publish(
        description_fields(parse_agora(DOCUMENTS[3]), registry.settings.owner, name="another")
    )
    found = await registry.protocols.get(found_hash)
    assert (found.description.id, found.digest) == (f"{registry.settings.owner}/weather-query", published.digest)
    assert agora_of(found.fields) == protocol
    # A newer version has another document; the hash still names the one that it names.
    newer = parse_agora(protocol.document.replace("whole number", "number"))
    await registry.protocols.publish(description_fields(newer, registry.settings.owner, "1.1.0"))
    assert (await registry.protocols.get(found_hash)).description.version == "1.0.0"
    assert (await registry.protocols.get(newer.hash)).description.version == "1.1.0"
    with pytest.raises(EntryNotFoundError, match="Agora"):
        await registry.protocols.get(agora_hash("never published"))
    await registry.protocols.publish(description_fields(newer, registry.settings.owner, name="copy"))
    with pytest.raises(RegistryError, match=r"copy, .*weather-query"):
        await registry.protocols.get(newer.hash)


@pytest.mark.anyio
@pytest.mark.parametrize("rounds", ["one round", "several rounds"])
async def test_a_routine_of_agora_runs_in_our_sandbox_against_agoras_own_receiver(
    registry: Plane, theirs: dict[str, Any], receivers: Receivers, tmp_path: Path, rounds: str
) -> None:
    several = rounds == "several rounds"
    document = weather(theirs).document.replace("multiround: false", f"multiround: {str(several).lower()}")
    protocol = parse_agora(document)
    await registry.protocols.publish_agora(document, routine=theirs["routine"])
    provider = await registry.protocols.agora_routine(protocol.hash)
    outcomes = []
    for city, expected in (("Oslo", b"-3"), ("Zürich", b"7"), ("Atlantis", b"null")):
        descriptor = await registry.protocols.descriptor(
            protocol.hash, endpoint=receivers(several), parameters={"task_data": {"city": city}}
        )
        output = tmp_path / f"{city}.json"
        outcomes.append(await registry.levels.run(descriptor, output, provider=provider))
        assert output.read_bytes() == expected
    assert [(outcome.level, outcome.provider_calls) for outcome in outcomes] == [("2", 1), ("1.5", 0), ("1.5", 0)]
    assert {outcome.rung for outcome in outcomes} == {"monty"}


@pytest.mark.anyio
async def test_an_error_of_the_agent_fails_the_transfer_and_leaves_no_file(
    registry: Plane, theirs: dict[str, Any], receivers: Receivers, tmp_path: Path
) -> None:
    unknown = parse_agora(weather(theirs).document, ["ftp://nowhere.invalid/"])  # the receiver does not get it there
    await registry.protocols.publish(description_fields(unknown, registry.settings.owner))
    descriptor = await registry.protocols.descriptor(
        unknown.hash, endpoint=receivers(True), parameters={"task_data": {"city": "Oslo"}}
    )
    with pytest.raises(LevelsError):
        await registry.levels.run(
            descriptor, tmp_path / "answer.json", provider=AgoraRoutine(unknown, theirs["routine"])
        )
    assert not (tmp_path / "answer.json").exists()
    details = [record.detail async for record in registry.levels.log()]
    assert details
    assert all("The agent answered: No connection adapters" in detail for detail in details)


@pytest.mark.anyio
async def test_a_routine_is_not_used_for_another_document(
    registry: Plane, theirs: dict[str, Any], receivers: Receivers, tmp_path: Path
) -> None:
    other = parse_agora(DOCUMENTS[3])
    await registry.protocols.publish(description_fields(other, registry.settings.owner))
    descriptor = await registry.protocols.descriptor(
        other.hash, endpoint=receivers(False), parameters={"task_data": {"city": "Oslo"}}
    )
    routine = AgoraRoutine(weather(theirs), theirs["routine"])
    with pytest.raises(ProviderError, match="another Agora document"):
        await registry.levels.run(descriptor, tmp_path / "answer.json", provider=routine)


@pytest.mark.anyio
async def test_the_command_publishes_a_document_and_its_routine(
    registry: Plane, theirs: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "weather.txt").write_text(theirs["negotiated"]["document"], newline="")
    (tmp_path / "routine.py").write_text(theirs["routine"])
    (tmp_path / "broken.py").write_text("def run(")
    settings = registry.settings
    environment = {
        "BROKER_PLANE_NATS_URL": settings.nats_url,
        "BROKER_PLANE_PREFIX": settings.prefix,
        "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:1",
        "BROKER_PLANE_DATA_DIR": str(settings.data_dir),
    }

    async def publish(*options: str) -> CompletedProcess[bytes]:
        words = [sys.executable, "-m", "broker_plane.cli.main", "protocols", "publish", "--agora", "weather.txt"]
        path = {"PYTHONPATH": str(ROOT)}
        return await anyio.run_process(
            [*words, *options, "--json"], env=os.environ | environment | path, cwd=tmp_path, check=False
        )

    assert b"not Python" in (await publish("--routine", "broken.py")).stderr
    done = await publish("--routine", "routine.py", "--source", "https://protocols.example/weather.txt")
    assert done.returncode == 0, done.stderr.decode()
    found = await registry.protocols.get(theirs["negotiated"]["hash"])
    assert (found.description.id, routine_of(found.fields)) == ("local/weather-query", theirs["routine"])
    document = agora_of(found.fields)
    assert document is not None
    assert document.sources == ("https://protocols.example/weather.txt",)
