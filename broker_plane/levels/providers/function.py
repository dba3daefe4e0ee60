"""Bring your own: an asynchronous function as a provider."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from broker_plane.errors import ProviderError
from broker_plane.levels.ports import Generated
from broker_plane.levels.providers.code_text import code_of


class FunctionProvider:
    """Calls `function` with the prompt. It returns the model's answer, or `Generated` to report tokens besides."""

    def __init__(self, function: Callable[[str], Awaitable[str | Generated]], name: str = "") -> None:
        self._function = function
        self.name = name or f"function:{getattr(function, '__qualname__', type(function).__name__)}"

    async def generate(self, prompt: str) -> Generated:
        """As `Provider.generate`; what the function raises is the cause of the ProviderError."""
        try:
            answer = await self._function(prompt)
        except ProviderError:
            raise
        except Exception as error:
            # Its message is unknown here and may have a key in it.
            raise ProviderError(f"{self.name} raised {type(error).__name__}; see the cause") from error
        if isinstance(answer, Generated):
            return Generated(code_of(answer.source), answer.input_tokens, answer.output_tokens)
        if not isinstance(answer, str):
            raise ProviderError(f"{self.name} returned {type(answer).__name__}; it must return text")
        return Generated(code_of(answer))
