"""From which size on a result is offloaded: a client and a result in, yes or no out."""

from __future__ import annotations

from typing import Any

import pytest

from broker_plane.errors import ConfigError
from broker_plane.reading.clients import (
    CLIENTS,
    DEFAULT_TOKENS,
    UNKNOWN,
    Threshold,
    client_name,
    client_of,
    parse_tokens,
)


def result(text: int | None = None, structured: int | None = None, *, character: str = "x") -> dict[str, Any]:
    """A result with a text and with structured content of so many characters."""
    content = [] if text is None else [{"type": "text", "text": character * text}]
    return {"content": content} | ({} if structured is None else {"structuredContent": character * (structured - 2)})


CASES = [
    pytest.param("", None, result(40_000), False, id="10,000 tokens for an unknown client"),
    pytest.param("", None, result(40_001), True, id="one byte more"),
    pytest.param("", None, result(30_000, 30_000), False, id="text and structured content are not added up"),
    pytest.param("", None, result(10, 40_001), True, id="an unknown client may show the structured content"),
    pytest.param("", None, result(20_001, character="é"), True, id="bytes of UTF-8"),
    pytest.param("claude-code", None, result(50_000), False, id="what Claude Code shows"),
    pytest.param("claude-code", None, result(50_001), True, id="what Claude Code writes to a file"),
    pytest.param("claude-code", None, result(50_000, character="é"), False, id="Claude Code counts characters"),
    pytest.param("claude-code", None, result(90_000, 900), False, id="Claude Code shows structured content alone"),
    pytest.param("claude-ai", None, result(150_000, 200_000), False, id="Claude Desktop shows the text"),
    pytest.param("claude-ai", None, result(None, 150_001), True, id="where there is one"),
    pytest.param("codex-mcp-client", None, result(40_001), True, id="Codex"),
    pytest.param("Visual Studio Code", None, result(8_192), False, id="VS Code"),
    pytest.param("Visual Studio Code - Insiders", None, result(8_193), True, id="a variant of VS Code"),
    pytest.param("opencode", None, result(51_201), True, id="opencode"),
    pytest.param("claude-code", 25, result(101), True, id="the user's own threshold"),
    pytest.param("claude-code", 25, result(100), False, id="up to the user's own threshold"),
    pytest.param("", 0, result(1), True, id="everything"),
]


@pytest.mark.parametrize(("name", "tokens", "given", "exceeded"), CASES)
def test_what_is_too_large_for_a_client(name: str, tokens: int | None, given: dict[str, Any], exceeded: bool) -> None:
    assert Threshold(tokens).exceeded_by(given, client_of(name)) is exceeded


def test_no_answer_below_the_least_size_is_measured() -> None:
    for client in (*CLIENTS.values(), UNKNOWN):
        assert Threshold().least_bytes(client) == client.most
    assert Threshold().least_bytes(UNKNOWN) == 4 * DEFAULT_TOKENS
    assert Threshold(7).least_bytes(CLIENTS["claude-code"]) == 28


@pytest.mark.parametrize("name", ["Claude-Code", "claude-code-x", "", "Visual Studio Codex"])
def test_other_names_are_unknown(name: str) -> None:
    assert client_of(name) is UNKNOWN


@pytest.mark.parametrize("info", [None, [], "claude-code", {"name": 7}, {}])
def test_a_malformed_client_info_has_no_name(info: Any) -> None:
    assert client_name(info) == ""


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("10000", 10_000), ("10k", 10_000), ("10K", 10_000), (" 2 k ", 2_000), ("1m", 1_000_000), ("10,000", 10_000),
        ("0", 0), ("64KiB", 16_384), ("40kB", 10_000), ("1MB", 250_000), ("3B", 0), ("500 tokens", 500),
    ],
)  # fmt: skip
def test_a_threshold_is_a_number_of_tokens_or_a_size(text: str, tokens: int) -> None:
    assert parse_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", "k", "ten", "-1", "1.5k", "64 parsecs", "0x10", "1e5"])
def test_other_thresholds_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="number of tokens"):
        parse_tokens(text)
