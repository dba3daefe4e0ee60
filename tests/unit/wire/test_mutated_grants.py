"""Grants that somebody changed: none is accepted, and each is refused in the one way there is, as bridges do it."""

from __future__ import annotations

from random import Random

import pytest

from broker_plane.errors import GrantRefusedError
from broker_plane.wire.caveats import Audience, Bytes, Columns, Expires, Rows, Uses, Where
from broker_plane.wire.grant import narrow
from broker_plane.wire.names import decode_id, encode_id
from broker_plane.wire.rows import of_ids
from tests.unit.memory import Memory

pytestmark = pytest.mark.anyio
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
OTHERS = LETTERS + "=+/ .\n\0é*>"
HEAD, TAG = 44, 16


async def genuine(memory: Memory) -> list[str]:
    """A root, and what holders made of it."""
    root = await memory.mint()
    some = narrow(root, Columns(("a", "b")), Where("a > 3"), Uses(2))
    return [root, some, narrow(some, Rows(of_ids(range(40))), Audience("charts"), Expires(1_900_000_000), Bytes(9))]


def mutated(dice: Random, texts: list[str]) -> str:
    """Another text than any of `texts`: letters, bytes, and the parts of grants, changed in ways of their own."""
    while True:
        text = dice.choice(texts)
        change = dice.choice(CHANGES)
        made = change(dice, text, dice.choice(texts))
        if made not in texts:
            return made


def _letters(dice: Random, text: str, _: str) -> str:
    letters = list(text)
    for _number in range(dice.choice((1, 1, 1, 2, 5))):
        letters[dice.randrange(len(letters))] = dice.choice(OTHERS)
    return "".join(letters)


def _bits(dice: Random, text: str, _: str) -> str:
    raw = bytearray(decode_id(text))
    for _number in range(dice.choice((1, 1, 2, 8))):
        raw[dice.randrange(len(raw))] ^= 1 << dice.randrange(8)
    return encode_id(bytes(raw))


def _cut(dice: Random, text: str, _: str) -> str:
    begin = dice.randrange(len(text))
    return text[:begin] + text[begin + dice.randrange(1, 9) :]


def _grown(dice: Random, text: str, _: str) -> str:
    place = dice.randrange(len(text) + 1)
    return text[:place] + "".join(dice.choices(LETTERS, k=dice.randrange(1, 9))) + text[place:]


def _spliced(dice: Random, text: str, other: str) -> str:
    """The head, the caveats or the tag of another grant."""
    raw, others = decode_id(text), decode_id(other)
    parts = [raw[:HEAD], raw[HEAD:-TAG], raw[-TAG:]]
    parts[dice.randrange(3)] = dice.choice([others[:HEAD], others[HEAD:-TAG], others[-TAG:], b""])
    return encode_id(b"".join(parts)) if any(parts) else ""


def _resized(dice: Random, text: str, _: str) -> str:
    """A caveat's kind or length is another one."""
    raw = bytearray(decode_id(text))
    if len(raw) <= HEAD + TAG:
        return text[:-1]
    raw[HEAD + dice.randrange(3)] = dice.randrange(256)
    return encode_id(bytes(raw))


CHANGES = (_letters, _bits, _cut, _grown, _spliced, _resized)


@pytest.mark.parametrize("count", [20_000, pytest.param(1_000_000, marks=pytest.mark.full)])
async def test_of_so_many_mutated_grants_none_is_accepted_and_all_are_refused_alike(count: int) -> None:
    memory = Memory([{"a": 1, "b": 2}])
    texts = await genuine(memory)
    for text in texts:
        assert (await memory.grants.unsealed(text)).owner == "local"
    dice = Random(count)
    refused = 0
    for _ in range(count):
        text = mutated(dice, texts)
        try:
            opened = await memory.grants.open(text, "charts")
        except GrantRefusedError as error:
            assert str(error) == "Unknown or expired resource"
            refused += 1
        else:
            raise AssertionError(f"accepted {text!r} as {opened}")
    assert refused == count
