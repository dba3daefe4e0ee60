"""Replicas of sessions against the programs whose formats they use: ot-text-unicode and Yjs, in Node.js."""

from __future__ import annotations

import random
from base64 import b64decode, b64encode
from pathlib import Path
from typing import Any

import pytest
from pycrdt import get_state

from broker_plane.errors import ChangeError
from broker_plane.sessions.canonical import canonical
from broker_plane.sessions.replicas.factory import new_replica
from broker_plane.sessions.replicas.port import ArtifactKind, Replica
from broker_plane.sessions.text_differences import from_texts
from broker_plane.sessions.text_ops import apply, carry, compose, invert, parse, transform
from broker_plane.wire.yjs_updates import read_state
from tests.interop.conftest import HERE, answer, npm_installed

pytestmark = pytest.mark.anyio

PACKAGES = ("yjs@13.6.33", "ot-text-unicode@4.0.0")
LIMIT = 4 << 20
CASES = 400


@pytest.fixture(scope="module")
def node_path() -> dict[str, str]:
    return {"NODE_PATH": str(npm_installed("session-replicas", *PACKAGES))}


def words(chance: random.Random, most: int = 14) -> str:
    return "".join(chance.choice("ab c\n🌴🎼é\u0301") for _ in range(chance.randrange(most)))


async def test_operations_are_those_of_ot_text_unicode(node_path: dict[str, str], tmp_path: Path) -> None:
    chance = random.Random(15)
    cases: list[dict[str, Any]] = []
    for _ in range(CASES):
        text, ours, theirs, following = (words(chance) for _ in range(4))
        cases.append(
            {
                "text": text,
                "ours": from_texts(text, ours),
                "theirs": from_texts(text, theirs),
                "next": from_texts(ours, following),
                "cursors": [chance.randrange(len(text) + 1) for _ in range(3)],
            }
        )
    answers = await answer(["node", HERE / "session_texts.cjs"], {"cases": cases}, node_path, tmp_path)
    assert len(answers) == CASES
    for case, theirs_says in zip(cases, answers, strict=True):
        ours, theirs = case["ours"], case["theirs"]
        assert theirs_says == {
            "applied": apply(ours, case["text"]),
            "left": transform(ours, theirs, "left"),
            "right": transform(theirs, ours, "right"),
            "composed": compose(ours, case["next"]),
            "inverted": invert(ours),
            "normal": parse(ours),
            "cursors": [carry(ours, at, "left") for at in case["cursors"]],
        }


class YjsProgram:
    """Another program with a document of its own, in Node.js."""

    def __init__(self, kind: ArtifactKind, env: dict[str, str], directory: Path) -> None:
        self._kind, self._env, self._directory = kind, env, directory

    async def edit(self, updates: list[bytes], **what: int) -> Any:
        question = {"kind": self._kind, "updates": [b64encode(each).decode() for each in updates]} | what
        command: list[str | Path] = ["node", HERE / "session_documents.cjs"]
        return await answer(command, question, self._env, self._directory)


def our_edit(kind: ArtifactKind, replica: Replica, chance: random.Random) -> bytes:
    """The update of an edit of ours at a random place; empty if it changed nothing."""
    value = replica.value
    if kind == "text":
        at = chance.randrange(len(value) + 1)
        return replica.change_to(value[:at] + words(chance, 4) + value[at + chance.randrange(3) :]) or b""
    if kind == "json":
        return replica.change_to(value | {chance.choice("abcde"): [{"n": chance.randrange(9)}, words(chance)]}) or b""
    rows = [*value, {"name": words(chance), "count": chance.randrange(9)}]
    rows.insert(chance.randrange(len(rows)), rows.pop(chance.randrange(len(rows))))
    return replica.change_to(rows) or b""


START: dict[ArtifactKind, Any] = {
    "text": "Start 🌴: é\n",
    "json": {"a": {"p": [1, {"x": 2}]}, "b": "text"},
    "table": [{"name": "é🌴", "count": 1}, {"name": "two", "count": 2}],
}


@pytest.mark.parametrize("kind", ["text", "json", "table"])
@pytest.mark.parametrize(("seed", "edits"), [(1, 60), (2, 60), pytest.param(3, 1000, marks=pytest.mark.full)])
async def test_documents_of_both_sides_become_equal(
    kind: ArtifactKind, seed: int, edits: int, node_path: dict[str, str], tmp_path: Path
) -> None:
    """Both sides edit at the same time, from the same start; then each gets what the other one did."""
    theirs = YjsProgram(kind, node_path, tmp_path)
    replica, chance = new_replica(kind, "crdt", START[kind]), random.Random(seed)
    start = replica.pack()
    made = await theirs.edit([start], edits=edits, seed=seed)
    ours: list[bytes] = []
    for theirs_update in map(b64decode, made["updates"]):
        if own := our_edit(kind, replica, chance):
            replica.check(own, LIMIT)
            replica.apply(own)
            ours.append(own)
        replica.check(theirs_update, LIMIT)
        replica.apply(theirs_update)
    assert len(made["updates"]) > edits / 2 and len(ours) > edits / 2
    final = await theirs.edit([start, *map(b64decode, made["updates"]), *ours])
    assert canonical(kind, final["value"]) == canonical(kind, replica.value)
    assert read_state(b64decode(final["state"])) == read_state(get_state(replica.pack()))
    assert not final["pending"]
    restarted = await theirs.edit([replica.pack()])
    assert canonical(kind, restarted["value"]) == canonical(kind, replica.value)


async def test_an_update_that_cuts_a_character_is_refused(node_path: dict[str, str], tmp_path: Path) -> None:
    """Yjs makes two U+FFFD of such a character, and yrs another text: the documents would differ for good."""
    replica = new_replica("text", "crdt", "a🌴b")
    made = await YjsProgram("text", node_path, tmp_path).edit([replica.pack()], halve=1)
    with pytest.raises(ChangeError, match="halves"):
        replica.check(b64decode(made["updates"][0]), LIMIT)
    assert replica.value == "a🌴b"
