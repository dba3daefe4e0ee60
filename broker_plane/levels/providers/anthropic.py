"""Anthropic's Messages API as a provider: POST /v1/messages, version 2023-06-01.

Tested against a server that speaks the documented HTTP; untried against the real service.
"""

from __future__ import annotations

from typing import Any, Final

from broker_plane.errors import ProviderError
from broker_plane.levels.ports import Generated
from broker_plane.levels.providers.code_text import code_of
from broker_plane.levels.providers.http_api import ModelApi, tokens

URL: Final = "https://api.anthropic.com"
_VERSION: Final = "2023-06-01"
_MAX_TOKENS: Final = 8192


class AnthropicProvider:
    """Asks a Claude model. `api.url` is the base URL, without `/v1`."""

    def __init__(self, api: ModelApi) -> None:
        self._api = api
        self.name = f"anthropic:{api.model}"

    async def generate(self, prompt: str) -> Generated:
        """As `Provider.generate`."""
        headers = {"x-api-key": self._api.key.get_secret_value(), "anthropic-version": _VERSION}
        message = {"role": "user", "content": prompt}
        answer = await self._api.post(
            "/v1/messages", headers, {"model": self._api.model, "max_tokens": _MAX_TOKENS, "messages": [message]}
        )
        match answer.get("stop_reason"):
            case "max_tokens" | "model_context_window_exceeded":
                raise ProviderError("The model's answer was cut off at its length. Try again, or use another model")
            case "refusal":
                raise ProviderError("The model declined to write the code. Use another model or provider")
        usage = answer.get("usage")
        return Generated(code_of(_text(answer)), tokens(usage, "input_tokens"), tokens(usage, "output_tokens"))


def _text(answer: dict[str, Any]) -> str:
    """The text blocks of an answer; empty if it has none."""
    blocks = answer.get("content")
    found = [block for block in blocks if isinstance(block, dict)] if isinstance(blocks, list) else []
    return "".join(str(block.get("text", "")) for block in found if block.get("type") == "text")
