"""How many deliveries a URL has, in words."""

from __future__ import annotations

from broker_plane.cli.console import err, out
from broker_plane.wire.grant import uses_of


def uses_or_unlimited(grant: str) -> int | str:
    """As JSON output has them."""
    return uses_of(grant) or "unlimited"


def uses_text(grant: str) -> str:
    """As a person reads them."""
    count = uses_of(grant)
    if not count:
        return "unlimited"
    return f"{count} {'delivery' if count == 1 else 'deliveries'} (--uses sets another number)"


def say_uses(grant: str) -> None:
    """Say on standard error how often the URL works, where standard output has the URL alone."""
    if not out.to_people:
        err.print(f"uses: {uses_text(grant)}")
