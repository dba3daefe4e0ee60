"""The Chat Completions API of OpenAI as a provider, which many services and local servers speak: POST chat/completions.

Tested against a server that speaks the documented HTTP; untried against the real services.
"""

from __future__ import annotations

from typing import Any, Final

from broker_plane.errors import ProviderError
from broker_plane.levels.ports import Generated
from broker_plane.levels.providers.code_text import code_of
from broker_plane.levels.providers.http_api import ModelApi, tokens

URL: Final = "https://api.openai.com/v1"


class OpenAiProvider:
    """Asks a model behind the Chat Completions API. `api.url` ends where `/chat/completions` begins; without a key no
    Authorization is sent.
    """

    def __init__(self, api: ModelApi) -> None:
        self._api = api
        self.name = f"openai:{api.model}"

    async def generate(self, prompt: str) -> Generated:
        """As `Provider.generate`."""
        key = self._api.key.get_secret_value()
        answer = await self._api.post(
            "/chat/completions",
            {"authorization": f"Bearer {key}"} if key else {},
            {"model": self._api.model, "messages": [{"role": "user", "content": prompt}]},
        )
        choices = answer.get("choices")
        choice = choices[0] if isinstance(choices, list) and choices and isinstance(choices[0], dict) else {}
        message = choice.get("message")
        match choice.get("finish_reason"):
            case "length":
                raise ProviderError("The model's answer was cut off at its length. Try again, or use another model")
            case "content_filter":
                raise ProviderError("The service filtered the model's answer. Use another model or provider")
        usage = answer.get("usage")
        return Generated(
            code_of(_text(message if isinstance(message, dict) else {})),
            tokens(usage, "prompt_tokens"),
            tokens(usage, "completion_tokens"),
        )


def _text(message: dict[str, Any]) -> str:
    """The text of a message, which is one string or a list of parts.

    Raises:
        ProviderError: the model declined.
    """
    if message.get("refusal"):
        raise ProviderError("The model declined to write the code. Use another model or provider")
    content = message.get("content")
    if isinstance(content, list):
        return "".join(str(part.get("text", "")) for part in content if isinstance(part, dict))
    return content if isinstance(content, str) else ""
