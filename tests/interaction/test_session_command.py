"""`broker-plane session`: what programs read of it, and what people are told."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from broker_plane import Plane
from broker_plane.testing.processes import until
from tests.interaction.conftest import Forked
from tests.interaction.sessions import Room

pytestmark = pytest.mark.anyio
Run = Callable[..., list[dict[str, Any]]]
PLAN = "# Plan\n\none\ntwo\n"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    made = Room(tmp_path_factory.mktemp("sessions"))
    asyncio.run(made.ready())
    yield made
    made.close()


@pytest.fixture
def plan(tmp_path: Path) -> str:
    path = tmp_path / "plan.md"
    path.write_text(PLAN)
    return str(path)


@pytest.fixture
def run(room: Room, forked: Forked, tmp_path: Path) -> Run:
    """`run(("show", grant), …)`: what these commands said, each in a process of its own."""

    def commands(*all_words: tuple[str, ...]) -> list[dict[str, Any]]:
        env = {name: value for name, value in room.environment.items() if name.startswith("BROKER_PLANE_")}
        shared = {"env": env, "cwd": str(tmp_path), "seconds": 60}
        return forked([{"words": ["session", *words], **shared} for words in all_words])

    return commands


def good(run: Run, *words: str) -> str:
    (said,) = run(words)
    assert (said["code"], said["err"]) == (0, ""), said
    return str(said["out"])


def created(run: Run, *words: str) -> dict[str, Any]:
    line, end = good(run, "create", *words, "--json").split("\n")
    assert end == ""
    found: dict[str, Any] = json.loads(line)
    return found


async def test_a_session_from_its_creation_to_the_final_body(room: Room, run: Run, plan: str, tmp_path: Path) -> None:
    made = created(run, plan, "--sync", "patch", "--intent", "fix=80", "--intent", "write=30", "--ttl", "2h")
    assert set(made) == {"session_id", "descriptor", "grants", "websocket"}
    assert made["websocket"] == f"{room.bridge_url}/v1/sessions".replace("http", "ws")
    assert made["descriptor"]["mode"] == "collaborate"
    editor, observer = made["grants"]["editor"], made["grants"]["observer"]
    edited = tmp_path / "edited.md"
    edited.write_text(PLAN.replace("two", "2"))
    options = ("--name", "Anna", "--intent", "fix", "--propose", str(edited), "--message", "a number", "--no-follow")
    (entry,) = json.loads(good(run, "join", editor, *options, "--note", "question: Why?", "--json"))
    assert (entry["kind"], entry["content"]["type"], entry["content"]["text"]) == ("noted", "question", "Why?")
    assert good(run, "show", observer) == PLAN.replace("two", "2")
    assert good(run, "show", observer, "--revision", "1") == PLAN
    assert "-two\n+2\n" in good(run, "diff", observer, "1")
    lines = [line.split("\t") for line in (good(run, "log", observer)).splitlines()]
    assert [(line[0], line[-1]) for line in lines[:4]] == [
        ("1", "created"),
        ("2", "joined as editor"),
        ("3", "a number"),
        ("4", "question: Why?"),
    ]
    assert len(json.loads(good(run, "log", observer, "--after", "1", "--limit", "2", "--json"))) == 2
    proposal = (good(run, "undo", editor, "--intent", "fix", "--name", "bert")).strip()
    good(run, "accept", editor, proposal, "--name", "bert")
    assert good(run, "show", observer) == PLAN
    good(run, "rollback", editor, "3", "--name", "bert")
    url = (good(run, "close", editor, "--reason", "agreed")).strip()
    async with Plane.connect(room.settings) as plane:
        assert await plane.pull(url) == PLAN.replace("two", "2").encode()
    assert json.loads(good(run, "close", made["session_id"], "--json"))["sha256"]


async def test_in_a_pipe_create_prints_the_address_that_join_takes(room: Room, run: Run) -> None:
    address = (good(run, "create", "--kind", "json", "--sync", "patch")).strip()
    assert address.startswith(f"{room.bridge_url}/v1/sessions/")
    code, _, err = await room.run("join", address, "--propose", "-", "--no-follow", stdin='{"a": 1}')
    assert code == 0, err
    assert json.loads(good(run, "show", address)) == {"a": 1}
    descriptor = json.dumps((created(run))["descriptor"])
    assert good(run, "show", descriptor) == "\n"


@pytest.mark.parametrize("via", ["http", "nats"])
async def test_join_prints_what_happens_until_the_session_ends(room: Room, run: Run, via: str) -> None:
    made = created(run, "--sync", "patch")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "broker_plane.cli.main", "session", "join", made["grants"]["observer"]),
        *("--name", "eve", "--via", via, "--json"),
        env=room.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with Plane.connect(room.settings) as plane:

        async def eve_has_joined() -> bool:
            shown = (await plane.sessions.show(made["grants"]["observer"])).fields
            return [each["name"] for each in shown["participants"]] == ["eve"]

        await until(eve_has_joined, "eve")
        async with plane.sessions.join(made["grants"]["editor"], name="anna") as session:
            await session.propose(session.revision, edit="hello")
        await plane.sessions.close(made["session_id"])
    out, err = await asyncio.wait_for(process.communicate(), 60)
    kinds = [json.loads(line)["kind"] for line in out.splitlines()]
    assert (process.returncode, kinds) == (0, ["joined", "operation", "left", "closed"]), err


async def test_ctrl_c_leaves_the_session(room: Room, run: Run) -> None:
    made = created(run)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "broker_plane.cli.main", "session", "join", made["grants"]["editor"], "--name", "anna"),
        env=room.environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with Plane.connect(room.settings) as plane:

        async def kinds() -> list[str]:
            return [entry.kind for entry in await plane.sessions.log(made["grants"]["observer"])]

        async def anna_has_joined() -> bool:
            return "joined" in await kinds()

        await until(anna_has_joined, "anna")
        process.send_signal(signal.SIGINT)
        _, err = await asyncio.wait_for(process.communicate(), 60)
        assert (process.returncode, err.decode().splitlines()[-1]) == (130, "broker-plane: Stopped")

        async def anna_has_left() -> bool:
            return (await kinds())[-1] == "left"

        await until(anna_has_left, "anna to leave")


async def test_errors_say_what_to_do(run: Run, plan: str) -> None:
    made = created(run, plan)
    editor, observer = made["grants"]["editor"], made["grants"]["observer"]
    cases = (
        (("show", "nonsense"), 1, "contains no grant"),
        (("rollback", observer, "1"), 1, "observer may not rollback; editor may"),
        (("rollback", editor, "99"), 1, "the revisions 1 to 1, and not 99"),
        (("create", "--kind", "page"), 2, "text, json or table"),
        (("create", "--sync", "git"), 2, "crdt, patch or ot"),
        (("create", "--intent", "fix"), 2, "NAME=PRIORITY"),
        (("create", "--validator", "nobody-knows-it"), 1, "nobody-knows-it"),
        (("create", "/does/not/exist"), 1, "No such file"),
        (("undo", editor), 2, "--participant or --intent"),
        (("join", editor, "--via", "pigeon"), 2, "auto, http or nats"),
        (("rollback", editor, "99", "--json"), 1, '{"error":{"code":"revision_not_found"'),
    )
    for (words, code, said), found in zip(cases, run(*(words for words, _, _ in cases)), strict=True):
        assert found["code"] == code and said in found["err"] and not found["out"], (words, found)
        assert editor not in found["err"] and observer not in found["err"]


async def test_every_command_teaches_with_an_example(run: Run) -> None:
    names = ("create", "join", "show", "log", "diff", "rollback", "undo", "accept", "close")
    listed, *pages = run(("--help",), *((name, "--help") for name in names))
    for name, page in zip(names, pages, strict=True):
        text = " ".join(page["out"].split())
        assert name in listed["out"] and page["code"] == 0
        assert "Example: broker-plane " in text and f"broker-plane session {name}" in text, text
