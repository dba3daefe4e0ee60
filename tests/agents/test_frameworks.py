"""No value of a body reaches the model, in async and in sync mode, with four frameworks; a planted leak is found."""

from __future__ import annotations

import pytest

from tests.interop.conftest import Ask

pytestmark = pytest.mark.anyio
FRAMEWORKS = ("with_mcp", "with_claude", "with_langgraph", "with_openai")


MODES = ("async", "sync")
CLEAN = {"drawn": True, "leaked": "", "looked_for": 80, "waiting": 0}


@pytest.mark.parametrize("framework", FRAMEWORKS)
async def test_the_model_sees_no_body_the_consumer_gets_it_and_a_planted_leak_is_found(
    ask_agent: Ask, framework: str
) -> None:
    plays = [{"mode": mode, "leak": leak} for leak in (False, True) for mode in MODES]
    in_async, in_sync, leaking_async, leaking_sync = await ask_agent(framework, plays=plays)
    assert in_async == in_sync == CLEAN
    assert "shows column" in leaking_async["leaked"]
    assert "shows column" in leaking_sync["leaked"]


async def test_what_only_looks_like_a_body_passes_through_every_adapter(ask_agent: Ask) -> None:
    assert await ask_agent("with_lookalikes") == {"adapters": 6, "changed": [], "leaked": []}
