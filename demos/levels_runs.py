"""What `levels` measured: one `Run` for each protocol in each phase, and what must hold for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

PHASES = {
    "first": "the first run of each protocol",
    "again": "another process",
    "changed": "another process, after the API changed",
    "healed": "another process, after that",
}
"""The phases in their order. Each is a process of its own."""


@dataclass(frozen=True, slots=True)
class Run:
    """One transfer. `tokens` are those of prompts and answers, None if they are unknown; `error` ended it."""

    phase: str
    protocol: str
    level: str = ""
    provider_calls: int = 0
    tokens: int | None = 0
    ms: float = 0.0
    bytes: int = 0
    sha256: str = ""
    rung: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The whole demo. `expected` is the SHA-256 of the file that each run must leave."""

    provider: str
    rows: int
    expected: str
    runs: Sequence[Run]
    problems: list[str] = field(default_factory=list)

    @property
    def scripted(self) -> bool:
        return self.provider == "scripted"

    @property
    def verified(self) -> bool:
        return not self.problems

    def as_json(self) -> dict[str, Any]:
        return {
            "verified": self.verified,
            "problems": self.problems,
            "provider": self.provider,
            "scripted": self.scripted,
            "rows": self.rows,
            "sha256": self.expected,
            "runs": [asdict(run) for run in self.runs],
        }


def problems_in(runs: Sequence[Run], expected: str, scripted_calls: dict[str, int]) -> list[str]:
    """What is not as it must be. `scripted_calls`: calls in the first run; empty if a model answers."""
    found = []
    for run in runs:
        where = f"{run.protocol}, {run.phase}"
        if run.error:
            found.append(f"{where}: {run.error}")
            continue
        if run.sha256 != expected:
            found.append(f"{where}: the file does not have the SHA-256 of the readings")
        wanted = "1.5" if run.phase in ("again", "healed") else "2"
        # A model may write code for both versions of the API at once; the scripted answers do not.
        if run.level != wanted and (run.phase != "changed" or scripted_calls):
            found.append(f"{where}: it ran at Level {run.level}, not {wanted}")
        if run.level == "1.5" and run.provider_calls:
            found.append(f"{where}: Level 1.5 called the provider {run.provider_calls} times")
        calls = scripted_calls.get(run.protocol) if run.phase == "first" else 1 if run.phase == "changed" else 0
        if scripted_calls and run.provider_calls != calls:
            found.append(f"{where}: the provider was called {run.provider_calls} times, not {calls}")
    return found
