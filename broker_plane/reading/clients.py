"""How much of a tool's result each MCP client still shows to its model. Pure.

The proxy and the adapters of agents hold back only what the client itself would cut off or write to a file, so that a
tool behind them is never worse than without them. Only limits that are documented, or that can be read in the client's
source, are listed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from broker_plane import units
from broker_plane.errors import ConfigError
from broker_plane.reading.tokens import TOKEN_BYTES
from broker_plane.shapes.results import texts_of
from broker_plane.tabular.json_values import json_bytes

DEFAULT_TOKENS = 10_000
"""Results of more tokens are offloaded for a client that is not listed here."""
CLIENT_INFO = "io.modelcontextprotocol/clientInfo"
"""The client's name in the `_meta` of each request of 2026-07-28."""

_MULTIPLES = {"": 1, "k": 1000, "m": 1_000_000, "tokens": 1, "token": 1, "ktokens": 1000}


@dataclass(frozen=True, slots=True)
class ShownPart:
    """What one client shows to its model."""

    most: int = DEFAULT_TOKENS * TOKEN_BYTES
    """The size of the largest result that it shows whole."""
    unit: Literal["bytes", "characters"] = "bytes"
    shows: Literal["text", "structured", "either"] = "either"
    """`structured`: the structured content in place of the text, where there is any. `either`: unknown."""


UNKNOWN = ShownPart()
CLIENTS: Mapping[str, ShownPart] = {
    # "Claude Code saves it to a file" above 50,000 characters: code.claude.com/docs/en/mcp, 2026-10. The model reads
    # the structured content only, if there is any: anthropics/claude-code#79944.
    "claude-code": ShownPart(50_000, "characters", "structured"),
    # "~150,000 characters": claude.com/docs/connectors/faq. The name is that of Claude Desktop's `initialize`.
    "claude-ai": ShownPart(150_000, "characters", "text"),
    # truncation_policy of the models' catalogue: 10,000 tokens of 4 bytes. Structured content replaces the text:
    # openai/codex codex-rs/protocol/src/models.rs, From<&CallToolResult> for FunctionCallOutputPayload.
    "codex-mcp-client": ShownPart(40_000, "bytes", "structured"),
    # chat.agent.largeToolResultsToDisk.thresholdBytes is 8 KiB, compared with the length of the text:
    # microsoft/vscode extensions/copilot/src/extension/prompts/node/panel/toolCalling.tsx. The text is left out if
    # there is structured content: src/vs/workbench/contrib/mcp/common/mcpLanguageModelToolContribution.ts.
    "Visual Studio Code": ShownPart(8 * 1024, "characters", "structured"),
    # MAX_BYTES of packages/opencode/src/tool/truncation.ts in anomalyco/opencode; session/tools.ts joins the texts.
    "opencode": ShownPart(50 * 1024, "bytes", "text"),
}
"""By `clientInfo.name`. Cursor writes long results to files too, and does not document from which size on."""


def client_of(name: str) -> ShownPart:
    """The entry of a client; names may have a suffix, such as `Visual Studio Code - Insiders`."""
    found = CLIENTS.get(name)
    if found is not None:
        return found
    return next((entry for known, entry in CLIENTS.items() if name.startswith(f"{known} ")), UNKNOWN)


def client_name(info: Any) -> str:
    """The name in a `clientInfo`; empty if there is none."""
    name = info.get("name") if isinstance(info, Mapping) else None
    return name if isinstance(name, str) else ""


@dataclass(frozen=True, slots=True)
class Threshold:
    """Above which size results are offloaded: the user's number of tokens, or what the client itself shows."""

    tokens: int | None = None

    def exceeded_by(self, result: Mapping[str, Any], client: ShownPart) -> bool:
        """Whether a result is larger than the threshold, by the part of it that the client's model would read.

        Raises:
            EncodingError: the structured content is nested too deeply to be measured.
        """
        return _shown_size(result, client, self._unit(client)) > self.least_bytes(client)

    def first_beside(self, rows: list[Any], result: Mapping[str, Any], client: ShownPart) -> list[Any]:
        """As many of the first `rows` as a list in `result` may have within the threshold.

        Raises:
            EncodingError: as `exceeded_by`.
        """
        unit = self._unit(client)
        room = self.least_bytes(client) - _shown_size(result, client, unit)
        for number, row in enumerate(rows):
            room -= _size(json_bytes(row).decode(), unit) + 1
            if room < 0:
                return rows[:number]
        return rows

    def least_bytes(self, client: ShownPart) -> int:
        """No answer of fewer bytes exceeds the threshold."""
        return client.most if self.tokens is None else self.tokens * TOKEN_BYTES

    def _unit(self, client: ShownPart) -> str:
        return client.unit if self.tokens is None else "bytes"


def _shown_size(result: Mapping[str, Any], client: ShownPart, unit: str) -> int:
    structured = result.get("structuredContent")
    texts = texts_of(result)
    as_text = sum(_size(text, unit) for text in texts)
    if structured is None or (client.shows == "text" and texts):
        return as_text
    as_structured = _size(json_bytes(structured).decode(), unit)
    return as_structured if client.shows == "structured" else max(as_text, as_structured)


def _size(text: str, unit: str) -> int:
    return len(text) if unit == "characters" else len(text.encode("utf-8", "surrogatepass"))


def parse_tokens(text: str) -> int:
    """Tokens of `10000`, `10k` or `1m`; a size with a unit, such as `64KiB`, counts 4 bytes for a token.

    Raises:
        ConfigError: it is neither.
    """
    given = text.strip().lower().replace("_", "").replace(",", "")
    digits = given.rstrip("abcdefghijklmnopqrstuvwxyz ")
    unit = given[len(digits) :].strip()
    if digits.isdecimal() and unit in _MULTIPLES:
        return int(digits) * _MULTIPLES[unit]
    try:
        size = units.parse_size(given)
    except ValueError:
        size = -1
    if size < 0:
        raise ConfigError(
            f"--threshold is a number of tokens such as 10000 or 10k, or a size such as 64KiB; {text!r} is neither"
        )
    return size // TOKEN_BYTES
