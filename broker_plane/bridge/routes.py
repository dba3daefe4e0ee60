"""The routes of a bridge, by the names under which logs and metrics show them. A grant is in none of them."""

from __future__ import annotations

from broker_plane.wire import urls

DATA = "/s2sp/data/…"
CONFIRM = "/s2sp/data/…/confirm"
LOOK = "/s2sp/data/…/look"
PAGE = "/s2sp/data/…/page"
FEED = "/v1/feeds/…"
VERSION = "/v1/feeds/…/version"
CHANGES = "/v1/feeds/…/version/changes"
UPLOAD = "/s2sp/upload/…"
TAKEN = "/v1/feeds/…/taken"
STREAM = "/v1/streams/…"
DOCUMENTS = ("/openapi.yaml", "/asyncapi.yaml")
PLAIN = ("/s2sp/health", "/healthz", "/readyz", "/metrics", *DOCUMENTS)
NO_ROUTE = "(none)"

CONFIRM_SUFFIX = "/confirm"
_VERBS = {"": DATA, CONFIRM_SUFFIX: CONFIRM, "/look": LOOK, "/page": PAGE}


def route_of(path: str) -> str:
    """The route of a path; a path of no route is not repeated, because somebody may have put a grant there."""
    if path in PLAIN:
        return path
    if stream_of(path):
        return STREAM
    if upload_of(path) is not None:
        return UPLOAD
    return feed_of(path)[2] if path.startswith(urls.FEEDS) else grant_of(path)[1]


def grant_of(path: str) -> tuple[str | None, str]:
    """(text in the grant's place, route); None for a path of another route."""
    if not path.startswith(urls.DATA):
        return None, NO_ROUTE
    grant, slash, verb = path[len(urls.DATA) :].partition("/")
    route = _VERBS.get(slash + verb)
    return (grant, route) if grant and route else (None, NO_ROUTE)


def stream_of(path: str) -> str:
    """The text in the grant's place; empty for a path of another route."""
    grant = path.removeprefix(urls.STREAMS)
    return "" if grant == path or "/" in grant else grant


def upload_of(path: str) -> str | None:
    """The text in the grant's place; None for a path of another route."""
    grant = path[len(urls.UPLOAD) :] if path.startswith(urls.UPLOAD) else ""
    return grant if grant and "/" not in grant else None


def feed_of(path: str) -> tuple[str | None, str, str]:
    """(text in the grant's place, version or nothing, route); None for a path of another route."""
    if not path.startswith(urls.FEEDS):
        return None, "", NO_ROUTE
    grant, *rest = path[len(urls.FEEDS) :].split("/")
    match rest:
        case _ if not grant:
            return None, "", NO_ROUTE
        case []:
            return grant, "", FEED
        case ["taken"]:
            return grant, "", TAKEN
        case [version] if version:
            return grant, version, VERSION
        case [version, "changes"] if version:
            return grant, version, CHANGES
    return None, "", NO_ROUTE
