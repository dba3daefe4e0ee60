"""The routes of a bridge, by the names under which logs and metrics show them. A grant is in none of them."""

from __future__ import annotations

DATA = "/s2sp/data/…"
CONFIRM = "/s2sp/data/…/confirm"
PLAIN = ("/s2sp/health", "/healthz", "/readyz", "/metrics")
NO_ROUTE = "(none)"

_PREFIX = "/s2sp/data/"
CONFIRM_SUFFIX = "/confirm"


def route_of(path: str) -> str:
    """The route of a path; a path of no route is not repeated, because somebody may have put a grant there."""
    if path in PLAIN:
        return path
    grant, confirms = grant_of(path)
    if grant is None:
        return NO_ROUTE
    return CONFIRM if confirms else DATA


def grant_of(path: str) -> tuple[str | None, bool]:
    """(text in the grant's place, whether the path is its confirmation); None for a path of another route."""
    if not path.startswith(_PREFIX):
        return None, False
    text = path[len(_PREFIX) :]
    grant = text.removesuffix(CONFIRM_SUFFIX)
    return (None, False) if not grant or "/" in grant else (grant, grant != text)
