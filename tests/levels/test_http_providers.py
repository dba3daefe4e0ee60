"""The providers over HTTP, against a server on loopback that speaks what the services document."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Callable
from email.utils import formatdate
from typing import Any

import pytest
from msgspec.structs import replace

from broker_plane.config import Secret, load_settings
from broker_plane.errors import ConfigError, ProviderError
from broker_plane.levels.ports import Generated, Provider
from broker_plane.levels.providers.choice import provider_of
from broker_plane.levels.providers.command import CommandProvider
from broker_plane.levels.providers.http_api import ModelApi, retry_after
from tests.levels.endpoints import Answer, Asked, Endpoint, endpoint, response, said

pytestmark = pytest.mark.anyio
KEY = "sk-canary-0123456789abcdef"
CODE = "emit(b'x')\n"
FENCED = f"Here it is:\n```python\n{CODE}```"
KINDS = ("anthropic", "openai")


def messages(text: str, **fields: Any) -> bytes:
    """A response of the Messages API."""
    whole = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "content": [{"type": "thinking", "thinking": "…"}, {"type": "text", "text": text}],
        "stop_reason": "end_turn",
        "usage": {"input_tokens": 11, "output_tokens": 22, "cache_read_input_tokens": 0},
    }
    return json.dumps(whole | fields).encode()


def completion(text: str | None, finish_reason: str = "stop", **message: Any) -> bytes:
    """A response of the Chat Completions API."""
    choice = {
        "index": 0,
        "message": {"role": "assistant", "content": text, **message},
        "finish_reason": finish_reason,
    }
    usage = {"prompt_tokens": 11, "completion_tokens": 22, "total_tokens": 33}
    return json.dumps({"id": "c", "object": "chat.completion", "choices": [choice], "usage": usage}).encode()


GOOD = {"anthropic": messages(FENCED), "openai": completion(FENCED)}


def provider(kind: str, server: Endpoint, *, key: str = KEY, seconds: float = 60.0) -> Provider:
    settings = load_settings(
        levels_api_url=server.url + ("/v1" if kind == "openai" else ""),
        levels_model="model-9",
        levels_api_key=Secret(key),
        max_generation_seconds=seconds,
    )
    return provider_of(kind, settings, {})


async def test_the_messages_api_of_anthropic() -> None:
    async with endpoint(said(GOOD["anthropic"])) as server:
        asking = provider("anthropic", server)
        assert await asking.generate("the prompt, ä") == Generated(CODE, 11, 22)
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/v1/messages")
    assert asked.header("x-api-key") == KEY and asked.header("anthropic-version") == "2023-06-01"
    assert asked.header("content-type") == "application/json" and asked.header("authorization") is None
    fields = json.loads(asked.body)
    assert fields["model"] == "model-9" and fields["max_tokens"] > 0
    assert fields["messages"] == [{"role": "user", "content": "the prompt, ä"}]
    assert asking.name == "anthropic:model-9"


@pytest.mark.parametrize("key", [KEY, ""])
async def test_the_chat_completions_api(key: str) -> None:
    async with endpoint(said(GOOD["openai"])) as server:
        asking = provider("openai", server, key=key)
        assert await asking.generate("the prompt") == Generated(CODE, 11, 22)
    (asked,) = server.asked
    assert (asked.method, asked.target) == ("POST", "/v1/chat/completions")
    assert asked.header("authorization") == (f"Bearer {KEY}" if key else None)
    assert json.loads(asked.body) == {"model": "model-9", "messages": [{"role": "user", "content": "the prompt"}]}
    assert asking.name == "openai:model-9"


async def test_an_answer_without_usage_has_unknown_tokens_and_one_in_parts_is_joined() -> None:
    message = {"role": "assistant", "content": [{"type": "text", "text": "a = "}, {"type": "text", "text": "1"}]}
    body = json.dumps({"choices": [{"message": message}]}).encode()
    async with endpoint(said(body)) as server:
        assert await provider("openai", server).generate("") == Generated("a = 1\n", None, None)


def error(status: int, message: str = "", *headers: tuple[str, str]) -> Answer:
    return said(json.dumps({"type": "error", "error": {"message": message}}).encode(), status, *headers)


FAILURES: list[tuple[str, Answer, str]] = [
    *((kind, error(401, f"Incorrect API key provided: {KEY}"), "does not accept the key") for kind in KINDS),
    *((kind, error(403, KEY), "does not accept the key") for kind in KINDS),
    *((kind, error(404, "model: model-9"), "Check the URL and the model 'model-9'") for kind in KINDS),
    *(
        (kind, error(400, f"too long, with {KEY}\nfor sure"), r"answered 400: too long, with \*+ for sure")
        for kind in KINDS
    ),
    *((kind, said(b"<html>", 418), "answered 418") for kind in KINDS),
    *((kind, said(b"", 302, ("location", "http://127.0.0.1:9/")), "answered 302") for kind in KINDS),
    *((kind, said(b"garbage"), "not its API") for kind in KINDS),
    *((kind, said(b"[]"), "not its API") for kind in KINDS),
    *((kind, said(b"{}"), "no code") for kind in KINDS),
    *((kind, said(b'{"content": 5, "choices": [5]}'), "no code") for kind in KINDS),
    *((kind, said(b'"' + b"x" * (5 << 20) + b'"'), "too long") for kind in KINDS),
    ("anthropic", said(messages(FENCED, stop_reason="max_tokens")), "cut off"),
    ("anthropic", said(messages("", stop_reason="refusal")), "declined"),
    ("openai", said(completion(FENCED, "length")), "cut off"),
    ("openai", said(completion(None, "content_filter")), "filtered"),
    ("openai", said(completion(None, refusal="No.")), "declined"),
]


@pytest.mark.parametrize(("kind", "answer", "message"), FAILURES)
async def test_a_service_that_refuses_or_answers_nonsense(
    kind: str, answer: Answer, message: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with endpoint(answer) as server:
        with pytest.raises(ProviderError, match=message) as raised:
            await provider(kind, server).generate("prompt")
    assert len(server.asked) == 1
    for text in (str(raised.value), raised.value.reason, caplog.text, repr(raised.value.__cause__)):
        assert KEY not in text


def first(count: int, wrong: Callable[[int], bytes | None], good: bytes) -> Answer:
    """Answers wrongly `count` times; None closes the connection without an answer."""
    asked: list[Asked] = []

    async def answer(request: Asked, writer: asyncio.StreamWriter) -> None:
        asked.append(request)
        found = wrong(len(asked)) if len(asked) <= count else response(good)
        if found is None:
            writer.close()
        else:
            writer.write(found)

    return answer


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", [429, 500, 503, 529])
async def test_a_busy_service_is_asked_again_when_it_says(kind: str, status: int) -> None:
    busy = response(b"{}", status, ("retry-after", "0"))
    async with endpoint(first(2, lambda _: busy, GOOD[kind])) as server:
        assert (await provider(kind, server).generate("prompt")).source == CODE
    assert len(server.asked) == 3


@pytest.mark.parametrize("kind", KINDS)
async def test_a_service_that_closes_the_connection_is_asked_again(kind: str) -> None:
    async with endpoint(first(1, lambda _: None, GOOD[kind])) as server:
        assert (await provider(kind, server).generate("prompt")).source == CODE
    assert len(server.asked) == 2


@pytest.mark.parametrize(
    ("status", "message"), [(429, "answered 429, also after retries: slow down"), (500, "answered 500")]
)
async def test_a_service_that_stays_busy_is_given_up(status: int, message: str) -> None:
    async with endpoint(error(status, "slow down", ("retry-after", "0"))) as server:
        with pytest.raises(ProviderError, match=message):
            await provider("anthropic", server).generate("prompt")
    assert len(server.asked) == 4


async def test_a_service_that_says_nothing_or_asks_to_wait_for_too_long_costs_no_more_than_its_time() -> None:
    async def silent(asked: Asked, writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(60)

    for answer in (silent, error(429, "", ("retry-after", "3600"))):
        async with endpoint(answer) as server:
            with pytest.raises(ProviderError, match=r"MAX_GENERATION_SECONDS|in time"):
                await asyncio.wait_for(provider("openai", server, seconds=0.3).generate("prompt"), 30)


async def test_a_service_that_is_not_there() -> None:
    async with endpoint() as server:
        pass
    with pytest.raises(ProviderError, match=f"cannot be reached at 127.0.0.1:{server.port}"):
        await provider("openai", server).generate("prompt")


def test_retry_after_is_a_number_or_a_date() -> None:
    assert retry_after("7", 1.0) == 7.0
    assert 50 < retry_after(formatdate(time.time() + 60, usegmt=True), 1.0) <= 60
    assert retry_after(formatdate(0, usegmt=True), 1.0) == 0.0
    assert [retry_after(text, 1.5) for text in ("", "soon", "-1", "٣", "9" * 30)] == [1.5] * 5


def test_the_choice_of_a_provider() -> None:
    settings = load_settings(levels_model="model-9")
    environment = {"ANTHROPIC_API_KEY": "a-key", "OPENAI_API_KEY": "o-key"}
    names = [provider_of(text, settings, environment).name for text in ("anthropic", "openai:gpt", "anthropic:x:y")]
    assert names == ["anthropic:model-9", "openai:gpt", "anthropic:x:y"]
    assert isinstance(provider_of("command:./write.py --fast", settings, {}), CommandProvider)


@pytest.mark.parametrize(
    ("text", "fields", "environment", "message"),
    [
        ("gemini", {}, {}, "no provider 'gemini'"),
        ("", {}, {}, "no provider"),
        ("command:", {}, {}, "needs a program"),
        ("anthropic", {}, {"ANTHROPIC_API_KEY": "k"}, "BROKER_PLANE_LEVELS_MODEL"),
        ("anthropic:m", {}, {"OPENAI_API_KEY": "k"}, "ANTHROPIC_API_KEY"),
        ("openai:m", {}, {}, "OPENAI_API_KEY"),
        ("openai:m", {"levels_api_url": "http://api.example/v1", "levels_api_key": Secret(KEY)}, {}, "plain text"),
        ("openai:m", {"levels_api_key": Secret("sk\nx")}, {}, "characters"),
    ],
)
def test_a_provider_that_lacks_something(
    text: str, fields: dict[str, Any], environment: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        provider_of(text, replace(load_settings(), **fields), environment)
    assert KEY not in str(raised.value)


async def test_the_service_s_own_key_is_not_sent_to_another_url() -> None:
    async with endpoint(said(GOOD["openai"])) as server:
        settings = load_settings(levels_api_url=f"{server.url}/v1", levels_model="m")
        await provider_of("openai", settings, {"OPENAI_API_KEY": KEY}).generate("prompt")
    assert KEY.encode() not in server.asked[0].text


def test_a_key_is_in_no_repr() -> None:
    api = ModelApi(service="s", url="https://api.example", model="m", key=Secret(KEY))
    assert KEY not in repr(api)
