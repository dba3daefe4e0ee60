"""What cannot hold behind a front: one table, with reasons. A row that no longer differs is an error."""

from __future__ import annotations

from dataclasses import dataclass

from tests.conformance.suite import Era

URL, COMMAND, NATS, WEBHOOK = "url", "command", "nats", "webhook"
FRONTS = (URL, COMMAND, NATS, WEBHOOK)


@dataclass(frozen=True)
class Difference:
    """A check that ends in another way behind `fronts`."""

    era: Era
    scenario: str
    check: str
    alone: str
    behind: str
    fronts: tuple[str, ...]
    reason: str


_NO_STREAM = (
    "It tests that a server ends the HTTP response of a running call and that the client reads on with GET and "
    "Last-Event-ID. Where the server is not reached over HTTP, it has no response to end; the scenario is not scored."
)

DIFFERENCES = tuple(
    Difference("2025-11-25", "server-sse-polling", check, "SUCCESS", behind, (NATS, WEBHOOK), _NO_STREAM)
    for check, behind in (
        ("server-sse-priming-event", "WARNING"),
        ("server-sse-retry-field", "WARNING"),
        ("server-sse-disconnect-resume", ""),  # for information only
    )
)


def allowed(front: str, era: Era) -> dict[tuple[str, str], tuple[str, str]]:
    """By scenario and check: the outcome alone and behind `front`, of every row of the table."""
    return {
        (row.scenario, row.check): (row.alone, row.behind)
        for row in DIFFERENCES
        if row.era == era and front in row.fronts
    }
