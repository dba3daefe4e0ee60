"""The sentence of a result that says what to do with its `resource_url`, and how often it works. Pure."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from broker_plane.reading.tools import next_step

if TYPE_CHECKING:
    from broker_plane.wire.body import BodyInfo


def sentence_of(body: BodyInfo, readers: Collection[str], uses: int, argument: str) -> str:
    """What is in the body and how to read on, with the tools `readers`; and for how many tools it is (0: unlimited).

    `argument` is the one with which a model asks for more.
    """
    if not readers:
        return _handing(uses, argument)
    media = body.media_type.partition(";")[0].strip()
    if body.rows is not None:
        rows, columns = body.rows, len(body.columns)
        subject = f"{rows:,} row{'s' * (rows != 1)} of {columns:,} column{'s' * (columns != 1)}"
        said = next_step(subject, "table", readers)
    elif media == "application/json" or media.endswith("+json"):
        said = next_step(f"JSON of {body.size:,} bytes", "json", readers)
    elif media.startswith("text/"):
        said = next_step(f"A text of {body.size:,} bytes", "text", readers)
    else:
        said = next_step(f"A body of {body.size:,} bytes", "bytes", readers)
    return f"{said} {_limit(uses, argument)}".strip()


def _handing(uses: int, argument: str) -> str:
    if not uses:
        return "Hand resource_url to a tool that takes it, as often as needed"
    if uses == 1:
        return f"Hand resource_url to one tool that takes it. For two tools, repeat this call with {argument}=2"
    return f"Hand resource_url to {uses} tools that take it. For more, repeat this call with a larger {argument}"


def _limit(uses: int, argument: str) -> str:
    """Reading on is not limited, so only the other tools count."""
    if not uses:
        return ""
    tools = "One tool" if uses == 1 else f"{uses} tools"
    return f"{tools} may take it; for more, repeat this call with {argument}={uses + 1}"
