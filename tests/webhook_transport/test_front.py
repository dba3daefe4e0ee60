"""A front over HTTP, as a client without any library of ours sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import httpx2
import pytest

from broker_plane.testing.processes import until
from tests.webhook_transport.conftest import FrontActor, Serve
from tests.webhook_transport.sample import KEY
from tests.webhook_transport.world import Place, callback

pytestmark = pytest.mark.anyio

META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
    "io.modelcontextprotocol/clientCapabilities": {},
}


def call(tool: str, number: int = 1, meta: dict[str, Any] | None = None, **arguments: Any) -> dict[str, Any]:
    params = {"name": tool, "arguments": arguments, "_meta": META | (meta or {})}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": params}


def beside(place: Place) -> dict[str, Any]:
    return {"callbackUri": place.url, "callbackSecret": place.channel.secret}


async def opened(http: httpx2.AsyncClient, front: str, place: Place) -> str:
    """The id of a new session, which was opened without a message."""
    answer = await http.post(front, json=beside(place))
    assert answer.status_code == 202, answer.text
    return str(answer.json()["sessionId"])


def answers(place: Place) -> dict[Any, dict[str, Any]]:
    return {message["id"]: message for _, message in place.channel.taken if "method" not in message}


async def answered(place: Place, number: Any) -> dict[str, Any]:
    found: dict[str, Any] = await until(lambda: answers(place).get(number), "the answer")
    return found


async def test_a_request_is_accepted_with_a_session_id_and_answered_at_the_callback(
    front: str, http: httpx2.AsyncClient
) -> None:
    async with callback() as place:
        answer = await http.post(front, json=call("add", a=3) | beside(place))
        assert answer.status_code == 202
        fields = answer.json()
        assert fields["sessionId"].startswith("w")
        assert answer.headers["x-mcp-session-id"] == fields["sessionId"]
        result = (await answered(place, 1))["result"]
        assert result["structuredContent"] == {"result": 5}
        assert str(place.channel.taken[0][0]) == f"{fields['sessionId']}:{fields['exchangeId']}:1"


async def test_progress_comes_before_the_answer_and_everything_is_numbered(
    front: str, http: httpx2.AsyncClient
) -> None:
    async with callback() as place:
        session = await opened(http, front, place)
        meta = {"progressToken": "p"}
        answer = await http.post(front, params={"sessionId": session}, json=call("count", meta=meta, to=3))
        await answered(place, 1)
        exchange = answer.json()["exchangeId"]
        assert [str(each) for each, _ in place.channel.taken] == [f"{session}:{exchange}:{n}" for n in range(1, 5)]
        assert [message["params"]["progress"] for _, message in place.channel.taken[:3]] == [1, 2, 3]


async def test_a_session_may_be_named_by_path_query_or_header(front: str, http: httpx2.AsyncClient) -> None:
    async with callback() as place:
        session = await opened(http, front, place)
        ways: list[tuple[str, dict[str, str]]] = [
            (f"{front}/{session}", {}),
            (f"{front}?sessionId={session}", {}),
            (front, {"x-mcp-session-id": session}),
        ]
        for number, (url, headers) in enumerate(ways):
            answer = await http.post(url, json=call("add", number, a=number), headers=headers)
            assert answer.json()["sessionId"] == session
            await answered(place, number)


@pytest.mark.parametrize("way", ["delete", "notification"])
async def test_a_closed_session_is_not_found_any_more(front: str, http: httpx2.AsyncClient, way: str) -> None:
    async with callback() as place:
        session = await opened(http, front, place)
        if way == "delete":
            assert (await http.delete(f"{front}/{session}")).status_code == 204
        else:
            message = {"jsonrpc": "2.0", "method": "notifications/disconnect"}
            assert (await http.post(f"{front}/{session}", json=message)).status_code == 202
        for answer in (
            await http.post(f"{front}/{session}", json=call("add", a=1)),
            await http.get(f"{front}/{session}/messages"),
            await http.get(f"{front}/{session}/events"),
            await http.delete(f"{front}/{session}"),
        ):
            assert answer.status_code == 404
            assert answer.json()["error"]["data"] == {"code": "mcp_session_not_found"}


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"[]", 400),
        (b'[{"jsonrpc":"2.0","id":1,"method":"ping"}]', 400),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', 400),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping","callbackUri":"http://127.0.0.1:1/"}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","callbackUri":7}', 400),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping"}', 400),
        (b"{}", 400),
        (b"[" * 100_000, 400),
        (b" " * (17 << 20), 413),
    ],
)
async def test_a_malformed_message_is_refused(front: str, http: httpx2.AsyncClient, body: bytes, status: int) -> None:
    answer = await http.post(front, content=body)
    assert answer.status_code == status
    assert "message" in answer.json()["error"]


async def test_a_page_of_another_origin_is_refused(front: str, http: httpx2.AsyncClient) -> None:
    async with callback() as place:
        body = json.dumps(call("add", a=1) | beside(place)).encode()
        for headers, status in (({"origin": "https://evil.example"}, 403), ({"host": "evil.example"}, 421)):
            assert (await http.post(front, content=body, headers=headers)).status_code == status
            assert (await http.get(f"{front}/wX/messages", headers=headers)).status_code == status
        assert place.channel.taken == []


async def test_with_audiences_a_token_is_required_and_a_session_belongs_to_its_caller(
    serve: Serve, http: httpx2.AsyncClient
) -> None:
    names = ",".join(f"{name}={sha256(name.encode()).hexdigest()}" for name in ("alice", "bob"))
    async with serve(audiences=names) as front, callback() as place:
        body = call("add", a=1) | beside(place)
        refused = await http.post(front, json=body)
        assert refused.status_code == 401
        assert refused.headers["www-authenticate"].startswith("Bearer")
        session = (await http.post(front, json=body, headers={"authorization": "Bearer alice"})).json()["sessionId"]
        other = await http.post(f"{front}/{session}", json=body, headers={"authorization": "Bearer bob"})
        assert other.status_code == 404


async def test_a_callback_that_is_not_allowed_opens_no_session(serve: Serve, http: httpx2.AsyncClient) -> None:
    async with serve(webhook_networks="127.0.0.2/32") as front, callback() as place:
        for url, status in ((place.url, 403), ("http://169.254.169.254/", 403), ("file:///etc/passwd", 403)):
            answer = await http.post(front, json=call("add", a=1) | {"callbackUri": url})
            assert answer.status_code == status, answer.text
        assert place.channel.taken == []


async def test_a_callback_that_echoes_nothing_opens_no_session(front: str, http: httpx2.AsyncClient) -> None:
    async with callback() as place:
        answer = await http.post(front, json=call("add", a=1) | {"callbackUri": place.url})  # it has another secret
        assert answer.status_code == 422
        assert answer.json()["error"]["data"] == {"code": "webhook"}


async def test_a_request_with_a_key_is_carried_out_once(front: str, http: httpx2.AsyncClient, tmp_path: Path) -> None:
    path, gate = tmp_path / "notes", tmp_path / "gate"
    gate.touch()
    async with callback() as place:
        session = await opened(http, front, place)
        request = call("note", meta={KEY: "k1"}, path=str(path), gate=str(gate))
        first = await http.post(f"{front}/{session}", json=request)
        again = await http.post(f"{front}/{session}", json=request | {"id": 2})
        assert again.json() == first.json() | {"repeated": True}
        await answered(place, 1)
        assert path.read_text() == "k1\n"
        assert len(answers(place)) == 1
        other = await http.post(f"{front}/{session}", json=call("add", meta={KEY: "k1"}, a=1))
        assert other.status_code == 422
        assert other.json()["error"]["data"] == {"code": "key_reused"}


async def test_a_cancelled_request_is_cancelled_at_the_server(
    front: str, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    async with callback() as place:
        session = await opened(http, front, place)
        await http.post(f"{front}/{session}", json=call("note", 7, path=str(path), gate=str(tmp_path / "gate")))
        await until((tmp_path / "notes.begun").exists, "the call to begin")
        message = {"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 7}}
        assert (await http.post(f"{front}/{session}", json=message)).status_code == 202
        await until((tmp_path / "notes.cancelled").exists, "the call to be cancelled")
        assert (await answered(place, 7))["error"]["data"] == {"code": "exchange_cancelled"}


async def test_a_session_that_is_closed_cancels_its_requests(
    front: str, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    async with callback() as place:
        session = await opened(http, front, place)
        await http.post(f"{front}/{session}", json=call("note", 7, path=str(path), gate=str(tmp_path / "gate")))
        await until((tmp_path / "notes.begun").exists, "the call to begin")
        await http.delete(f"{front}/{session}")
        await until((tmp_path / "notes.cancelled").exists, "the call to be cancelled")


async def test_a_callback_that_is_gone_ends_its_session_and_cancels_its_requests(
    front: str, http: httpx2.AsyncClient, tmp_path: Path
) -> None:
    path = tmp_path / "notes"
    async with callback() as place:
        session = await opened(http, front, place)
        await http.post(f"{front}/{session}", json=call("note", 7, path=str(path), gate=str(tmp_path / "gate")))
        await until((tmp_path / "notes.begun").exists, "the call to begin")
        place.receiver.end("here")
        await http.post(f"{front}/{session}", json=call("add", 8, a=1))
        await until((tmp_path / "notes.cancelled").exists, "the call to be cancelled")
        assert (await http.post(f"{front}/{session}", json=call("add", 9, a=1))).status_code == 404
        assert answers(place) == {}


async def test_a_front_that_is_killed_between_a_post_and_its_record_sends_the_same_message_again(
    fronts: Callable[[], FrontActor], http: httpx2.AsyncClient
) -> None:
    front = fronts()
    await front.start()
    async with callback() as place:
        session = await opened(http, front.url, place)
        place.silent = True
        for number in (1, 2):
            await http.post(f"{front.url}/{session}", json=call("add", number, a=number))
        await until(lambda: place.channel.taken, "a message that is not answered")
        front.kill()
        place.silent = False
        await front.start()
        await answered(place, 1)
        await answered(place, 2)
        first, *_ = taken = [str(message_id) for message_id, _ in place.channel.taken]
        assert taken.count(first) == 2
        assert len(set(taken)) == 2


async def test_messages_that_the_callback_did_not_take_can_be_fetched(front: str, http: httpx2.AsyncClient) -> None:
    async with callback() as place:
        session = await opened(http, front, place)
        place.channel.room = False
        await http.post(f"{front}/{session}", json=call("count", meta={"progressToken": 1}, to=2))
        pages = await until(lambda: pages_of(http, f"{front}/{session}/messages", 3), "three messages")
        assert [each["id"].rpartition(":")[2] for each in pages["messages"]] == ["1", "2", "3"]
        assert pages["messages"][-1]["message"]["result"]["structuredContent"] == {"result": 2}
        rest = await http.get(f"{front}/{session}/messages", params={"after": pages["after"]})
        assert rest.json() == {"messages": [], "after": pages["after"], "more": False}
        assert (await http.get(f"{front}/{session}/messages", params={"after": "-1"})).status_code == 400


async def pages_of(http: httpx2.AsyncClient, url: str, count: int) -> Any:
    page = (await http.get(url)).json()
    return page if len(page["messages"]) == count else None


async def test_the_end_of_an_event_stream_does_not_end_the_session(front: str, http: httpx2.AsyncClient) -> None:
    async with callback() as place:
        session = await opened(http, front, place)
        async with http.stream("GET", f"{front}/{session}/events") as stream:
            lines = stream.aiter_lines()
            await http.post(f"{front}/{session}", json=call("add", 1, a=1))
            found = await data_of(lines)
            assert found["result"]["structuredContent"] == {"result": 3}
        await http.post(f"{front}/{session}", json=call("add", 2, a=2))
        await answered(place, 1)
        await answered(place, 2)
        place.channel.room = False
        await http.post(f"{front}/{session}", json=call("add", 3, a=3))
        async with http.stream("GET", f"{front}/{session}/events") as stream:
            lines = stream.aiter_lines()
            while (await data_of(lines))["id"] != 3:
                pass


async def data_of(lines: Any) -> Any:
    async for line in lines:
        if line.startswith("data: "):
            return json.loads(line.removeprefix("data: "))
    raise AssertionError("the stream has ended")


async def test_the_description_of_the_routes_is_served(front: str, http: httpx2.AsyncClient) -> None:
    answer = await http.get(front.removesuffix("/mcp") + "/openapi.yaml")
    assert answer.status_code == 200
    assert answer.text.startswith("openapi: 3.1")
    assert (await http.get(front.removesuffix("/mcp") + "/else")).status_code == 404
    assert (await http.put(front)).headers["allow"] == "POST, DELETE"
