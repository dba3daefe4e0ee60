"""The tables of docs/sessions.md that repeat the code: who may do what, and the default intents."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from broker_plane.sessions.policy import INTENTS
from broker_plane.sessions.roles import OPERATIONS, ROLES, Access, may

_ACCESS: Final[Mapping[Access, str]] = MappingProxyType(
    {
        Access.READ: "to read",
        Access.NOTE: "to comment",
        Access.EDIT: "to change the artifact",
        Access.OWN: "to end the session",
    }
)


def roles() -> str:
    """One row for each operation, one column for each role."""
    head = [f"| operation | needs the right | {' | '.join(ROLES)} |", f"|---|---|{':-:|' * len(ROLES)}"]
    rows = (
        f"| `{name}` | {_ACCESS[access]} | {' | '.join('yes' if may(role, name) else '' for role in ROLES)} |"
        for name, access in OPERATIONS.items()
    )
    return "\n".join([*head, *rows])


def intents() -> str:
    """The default intents, from the highest priority to the lowest."""
    ordered = sorted(INTENTS.items(), key=lambda item: -item[1].priority)
    rows = (f"| `{name}` | {intent.priority} | {', '.join(intent.roles)} |" for name, intent in ordered)
    return "\n".join(["| intent | priority | roles |", "|---|--:|---|", *rows])


TABLES: Final[Mapping[str, Callable[[], str]]] = MappingProxyType({"roles": roles, "intents": intents})
"""The tables by the name of the markers between which the page has them: `<!-- NAME -->` and `<!-- /NAME -->`."""


def filled(text: str) -> str:
    """`text` with every table written between its markers.

    Raises:
        ValueError: a marker is missing.
    """
    for name, table in TABLES.items():
        begin, end = f"<!-- {name} -->\n", f"<!-- /{name} -->"
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not (found and closed):
            raise ValueError(f"The page has no markers {begin.strip()} and {end}")
        text = f"{before}{begin}{table()}\n{end}{after}"
    return text
