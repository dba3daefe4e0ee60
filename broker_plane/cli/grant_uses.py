"""How many deliveries a URL has, in words."""

from __future__ import annotations

from broker_plane.cli.console import err, out
from broker_plane.wire.grant import uses_of


def uses_or_unlimited(grant: str) -> int | str:
    """As JSON output has them."""
    return uses_of(grant) or "unlimited"


def uses_text(grant: str, *, chosen: bool) -> str:
    """As a person reads them. `chosen` says that the user set them."""
    count = uses_of(grant)
    if not count:
        return "unlimited"
    advice = "" if chosen else " (--uses sets another number)"
    return f"{count} {'delivery' if count == 1 else 'deliveries'}{advice}"


def say_uses(grant: str, *, chosen: bool) -> None:
    """Say on standard error how often the URL works, where standard output has the URL alone."""
    if not out.to_people:
        err.print(f"uses: {uses_text(grant, chosen=chosen)}")
