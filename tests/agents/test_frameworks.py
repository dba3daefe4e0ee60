"""No value of a body reaches the model, in async and in sync mode and from a plain tool that returns 1.2 MB, with four
frameworks; a planted leak is found.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.interop.conftest import Ask

pytestmark = pytest.mark.anyio
FRAMEWORKS = ("with_mcp", "with_claude", "with_langgraph", "with_openai")


MODES = ("async", "sync", "plain")
CLEAN = {"drawn": True, "leaked": "", "looked_for": 80, "waiting": 0}
Played = dict[tuple[str, bool], dict[str, Any]]
"""By mode, and whether a leak was planted."""


@pytest.fixture(scope="module", params=FRAMEWORKS)
async def played(request: pytest.FixtureRequest, ask_agent: Ask) -> Played:
    """All of a framework's plays, in one process: its import is most of the time."""
    asked = [(mode, leak) for leak in (False, True) for mode in MODES]
    answers = await ask_agent(request.param, plays=[{"mode": mode, "leak": leak} for mode, leak in asked])
    return dict(zip(asked, answers, strict=True))


async def test_the_model_sees_no_body_the_consumer_gets_it_and_a_planted_leak_is_found(played: Played) -> None:
    assert played["async", False] == played["sync", False] == CLEAN
    assert "shows column" in played["async", True]["leaked"]
    assert "shows column" in played["sync", True]["leaked"]


async def test_a_large_plain_result_is_held_back_read_on_and_handed_on(played: Played) -> None:
    clean = dict(played["plain", False])
    read = clean.pop("read")
    assert clean == {"drawn": True, "leaked": "", "looked_for": 2 * 5980, "waiting": 1}
    assert read.splitlines()[:2] == ["_row_id,name", "4321,Entry 4321"]
    assert "shows column" in played["plain", True]["leaked"]


async def test_what_only_looks_like_a_body_passes_through_every_adapter(ask_agent: Ask) -> None:
    assert await ask_agent("with_lookalikes") == {"adapters": 6, "changed": [], "leaked": []}


async def test_messages_and_commands_of_langgraph_are_held_back_in_place(ask_agent: Ask) -> None:
    for name, found in (await ask_agent("with_messages")).items():
        assert all(found.values()), (name, found)
