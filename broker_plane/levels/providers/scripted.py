"""A provider for tests and demos: it gives prepared answers, and its name says so."""

from __future__ import annotations

from collections.abc import Sequence

from broker_plane.errors import ProviderError
from broker_plane.levels.ports import Generated
from broker_plane.levels.providers.code_text import code_of


class ScriptedProvider:
    """Gives `answers`, one a call. `prompts` are those that it was given."""

    name = "scripted"

    def __init__(self, answers: Sequence[str]) -> None:
        self._answers = list(answers)
        self.prompts: list[str] = []

    async def generate(self, prompt: str) -> Generated:
        """As `Provider.generate`, with the next answer.

        Raises:
            ProviderError: no answer is left.
        """
        self.prompts.append(prompt)
        if len(self.prompts) > len(self._answers):
            raise ProviderError(f"The scripted provider has {len(self._answers)} answers, and all were used")
        return Generated(code_of(self._answers[len(self.prompts) - 1]))
