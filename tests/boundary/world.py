"""What an attack could have changed: every stream of the plane, subject by subject, and what went about in PLANE."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson

from tests.boundary.client import Client

MARK = b"attack"
"""Every attack's bytes begin with it."""


@dataclass
class Seen:
    """The subjects in PLANE on which an attack's bytes were seen, but for those on which askers may ask."""

    subjects: list[str] = field(default_factory=list)


async def stored(plane: Client) -> dict[str, Any]:
    """Messages, last sequence and subjects of every stream."""
    listing = orjson.loads((await plane.request("$JS.API.STREAM.NAMES", b"")).data)
    return {name: await _state(plane, name) for name in listing["streams"]}


@asynccontextmanager
async def nothing_changes(plane: Client, *, asks: bool = False) -> AsyncIterator[Seen]:
    """Nothing is stored, removed or replaced in the block, and no byte of an attack gets into PLANE.

    With `asks`, requests on `bp.pull` and `bp.confirm` do come there: that is what they are for.
    """
    before = await stored(plane)
    assert await plane.subscribe(">") == []
    plane.received.clear()
    seen = Seen()
    yield seen
    await plane.publish("test.done")  # returns when it has come, and with it all that was there before
    asked = ("bp.pull.", "bp.confirm.") if asks else ()
    marked = [message.subject for message in plane.received if MARK in message.data]
    seen.subjects = [subject for subject in marked if not subject.startswith(asked)]
    assert seen.subjects == []
    assert await stored(plane) == before


async def _state(plane: Client, stream: str) -> Any:
    question = orjson.dumps({"subjects_filter": ">"})
    state = orjson.loads((await plane.request(f"$JS.API.STREAM.INFO.{stream}", question)).data)["state"]
    return {name: state.get(name) for name in ("messages", "bytes", "last_seq", "subjects")}
