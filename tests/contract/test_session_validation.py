"""What a validator refuses is reverted before anybody sees it alone."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import (
    NotValidError,
    WireError,
)
from broker_plane.sessions.policy import parse_policy
from broker_plane.testing.processes import until
from broker_plane.validators.runner import ValidatorRunner, parse_validators
from tests.contract.sessions import ANNA, Stage, insert, told

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("sync", ["ot", "crdt", "patch"])
async def test_a_change_that_a_validator_refuses_is_reverted_in_the_same_group(stage: Stage, sync: str) -> None:
    schema = {"type": "string", "maxLength": 8, "title": "short"}
    session = await stage.create("text", sync=sync, validators=[{"json_schema": schema}])
    live, other = await stage.live(session), await stage.live(session)

    def edit(text: str, base: int) -> dict[str, Any]:
        return {"do": "propose", "base": base, "region": {"start": 0, "end": 0}, "edit": text}

    with live.follow() as follower:
        await live.ask(edit("ok ", 1), ANNA)
        with pytest.raises(NotValidError, match="json_schema short refused") as refused:
            await live.ask(edit("much too long ", live.revision), ANNA)
        assert [entry.kind for entry in await told(follower, 4)] == ["joined", "operation", "operation", "reverted"]
    assert refused.value.revision == live.revision == 5
    last = (await stage.entries(session))[-1]
    assert last.content["of"] == 4
    assert "is too long" in last.content["reason"]
    await until(lambda: other.revision == 5, "the other process to hear it")
    for each in (live, other):
        async with each.settled() as folded:
            assert folded.value == "ok text"
    assert (await other.ask(edit("!", 5), ANNA))["revision"] == 6


async def test_a_validator_that_hangs_refuses_the_change(stage: Stage) -> None:
    hanging = ValidatorRunner(parse_validators("hangs=command:sleep 1000"))
    policy = parse_policy({"validators": [{"name": "hangs"}], "validator_seconds": 0.5})
    host = stage.host(validators=hanging)
    session = await host.create("text", kind="text", sync="ot", policy=policy, owner=stage.owner)
    async with host.open(session) as live:
        with pytest.raises(NotValidError, match=r"it took longer than 0\.5 s"):
            await insert(live, ANNA, "x")
        assert (await live.ask({"do": "show"}, ANNA))["value"] == "text"
    with pytest.raises(WireError, match="no validator 'hangs'"):
        await stage.host().create("text", kind="text", sync="ot", policy=policy, owner=stage.owner)
    async with stage.host().open(session) as elsewhere:
        with pytest.raises(NotValidError, match="this bridge has no validator of this name"):
            await insert(elsewhere, ANNA, "x")
