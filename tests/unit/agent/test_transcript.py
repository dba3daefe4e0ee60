"""The transcript check finds a value of a body wherever it reached the model, and says where and not what."""

from __future__ import annotations

import json

import pytest

from broker_plane.agent.dispatcher import Dispatcher
from broker_plane.agent.transcript import Transcript
from broker_plane.errors import LeakError, StaleHandleError

pytestmark = pytest.mark.anyio
ROWS = [
    {"name": "Ann", "city": "Zürich", "note": 'She said "no"\nand left', "salary": 123456, "deep": {"key": ["pearl"]}},
    {"name": "Bob", "city": "Oslo", "note": "quiet", "salary": 7, "deep": {}},
]


@pytest.mark.parametrize(
    "leak",
    [
        "the salary is 123456",
        json.dumps({"note": ROWS[0]["note"]}),
        json.dumps(json.dumps({"note": ROWS[0]["note"]})),
        json.dumps({"city": "Zürich"}),
        json.dumps(json.dumps({"x": "Zürich"})),
        ["a", {"b": "pearl"}],
    ],
)
def test_a_leak_is_found(leak: object) -> None:
    transcript = Transcript()
    transcript.returned("harmless", "Ann and Bob")
    transcript.returned("leaky", leak)
    with pytest.raises(LeakError, match="result of leaky shows column") as caught:
        transcript.assert_no_body_leaked(ROWS, ["name"])
    assert not any(value in str(caught.value) for value in ("123456", "said", "pearl", "Zürich"))


def test_without_a_leak_it_says_how_much_it_looked_for() -> None:
    transcript = Transcript()
    transcript.returned("tool", json.dumps([{"name": "Ann"}, {"name": "Bob"}]))
    assert transcript.assert_no_body_leaked(ROWS, ["name"]) == 6


def test_a_value_that_the_abstract_shows_too_is_no_leak() -> None:
    transcript = Transcript()
    transcript.returned("tool", "Flood")
    rows = [{"event": "Flood", "kind": "Flood", "text": "unseen"}]
    assert transcript.assert_no_body_leaked(rows, ["event"]) == 1


def test_a_check_that_can_find_nothing_says_so() -> None:
    with pytest.raises(LeakError, match="prove nothing"):
        Transcript().assert_no_body_leaked([{"a": 1, "b": True}], [])


async def test_a_dispatcher_keeps_the_body_from_the_model_and_gives_it_to_the_tool() -> None:
    dispatcher = Dispatcher()
    body = [{"_row_id": number, **{key: row[key] for key in ("city", "note")}} for number, row in enumerate(ROWS)]
    seen = json.loads(await dispatcher.result("get", json.dumps({"abstract": [{"name": "Ann"}], "body": body})))
    call = await dispatcher.call("draw", {"resource_url": seen["resource_url"], "kind": "bar"})
    assert json.loads(call.arguments["body_data"]) == body
    assert (call.arguments["resource_url"], call.arguments["kind"]) == ("", "bar")
    dispatcher.transcript.assert_no_body_leaked(ROWS, ["name"])
    with pytest.raises(StaleHandleError):
        await dispatcher.call("draw", {"resource_url": seen["resource_url"]})


async def test_a_call_that_failed_leaves_its_handle_good() -> None:
    dispatcher = Dispatcher()
    handle = await dispatcher.bodies.keep([1, 2])

    async def fails(arguments: object) -> None:
        raise RuntimeError("no chart today")

    async def says_so(arguments: object) -> dict[str, object]:
        return {"content": [], "is_error": True}

    with pytest.raises(RuntimeError):
        await dispatcher.around("draw", {"resource_url": handle}, fails)
    await dispatcher.around("draw", {"resource_url": handle}, says_so)
    assert await dispatcher.bodies.give(handle) == [1, 2]
