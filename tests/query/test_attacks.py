"""Statements that try to reach more than their grants show: none does, whatever they answer."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import polars
import pytest

from broker_plane import Plane
from broker_plane.errors import BrokerPlaneError, QueryError, TooCostlyError
from tests.query.attacks import REFUSED, SHOWN

pytestmark = pytest.mark.anyio

WORD = "Zugspitze"
ROWS = [
    {"event": "Flood", "severity": 3, "secret": WORD},
    {"event": WORD, "severity": 9, "secret": "x"},
    {"event": "Heat", "severity": 2, "secret": WORD},
]


async def _answer(plane: Plane, sql: str, url: str) -> tuple[str, BrokerPlaneError | None]:
    """Everything that a query shows, and its error."""
    try:
        result = await plane.query(sql, a=url)
    except BrokerPlaneError as error:
        return f"{error} {error.reason}", error
    return repr(result) + repr((await result.table()).to_pylist()), None


SOME = ("read_csv", "http", "COPY to a file", "a pointer", "a hidden column", "a system view behind WITH", "SUMMARIZE")


@pytest.mark.parametrize("names", [SOME, pytest.param([*REFUSED, *SHOWN], marks=pytest.mark.full)], ids=["some", "all"])
async def test_no_statement_reaches_beyond_its_tables(plane: Plane, canary: Path, names: Sequence[str]) -> None:
    published = await plane.publish(polars.DataFrame(ROWS), uses="unlimited")
    url = plane.narrow(published.resource_url, columns=["event", "severity"], where="severity < 5").resource_url
    wrong: list[Any] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.setblocking(False)
        port = listener.getsockname()[1]
        for name in names:
            sql = (REFUSED | SHOWN)[name].replace("{file}", str(canary)).replace("{port}", str(port))
            shown, error = await _answer(plane, sql, url)
            if WORD in shown or (name in REFUSED and not isinstance(error, (QueryError, TooCostlyError))):
                wrong.append((name, shown))
        with pytest.raises(BlockingIOError):
            listener.accept()
    assert not wrong
    assert [file.name for file in canary.parent.iterdir()] == [canary.name]
    everything, _ = await _answer(plane, "SELECT * FROM a", published.resource_url)
    assert WORD in everything  # the word is what the narrowed grant hides
