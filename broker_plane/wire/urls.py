"""Builds URLs and subjects that contain a grant, and redacts grants in texts that people read. Pure.

Imports nothing of this package, because the logs of every package use it.
"""

from __future__ import annotations

import re

DATA = "/s2sp/data/"
UPLOAD = "/s2sp/upload/"
FEEDS = "/v1/feeds/"
STREAMS = "/v1/streams/"
SESSIONS = "/v1/sessions/"
SESSION_SUBPROTOCOL = "broker-plane.session.v1"
"""Of a WebSocket below SESSIONS that exchanges JSON texts; without it, one is a room of y-websocket."""

QUERY = "/v1/query"

MOST_QUOTED = 40
"""The maximum length of a text that an error repeats; grants are longer."""

# A subject's token ends at a dot, a path's segment does not. A run of a grant's characters that is longer than a public
# nkey (56) and a SHA-256 (64) is a grant wherever it appears, or a part of a JWT, and so is its percent-encoded form.
# Some libraries log a long text without its middle.
_PATHS = "|".join(path.strip("/").replace("/", "(?:/|%2F)+") for path in (DATA, UPLOAD, FEEDS, STREAMS, SESSIONS))
_SHORTEST_PART = 20
"""A part of a grant after `<prefix>.pull.` is at least this long; anything shorter may be the name of a module."""

_SECRET = re.compile(
    rf"""(bp\.(?:pull|confirm|say\.[a-z]+)\.)[^\s."'\\]+
    |(\b[a-z0-9]{{1,16}}\.(?:pull|confirm|say\.[a-z]+)\.)[^\s."'\\]{{{_SHORTEST_PART},}}
    |((?:/|%2F)(?:{_PATHS})(?:/|%2F)+)[^\s/?\#"'\\]+
    |(?<![A-Za-z0-9_-])(?:[A-Za-z0-9_-]|%[0-9A-Fa-f]{{2}}){{65,}}
    |(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{{20,}}\.\.\.[A-Za-z0-9_-]{{20,}}""",
    re.VERBOSE | re.IGNORECASE,
)


def data_url(bridge_url: str, grant: str) -> str:
    """The `resource_url` of a grant for a body."""
    return _url(bridge_url, DATA, grant)


def upload_url(bridge_url: str, grant: str) -> str:
    return _url(bridge_url, UPLOAD, grant)


def feed_url(bridge_url: str, grant: str) -> str:
    return _url(bridge_url, FEEDS, grant)


def stream_url(bridge_url: str, grant: str) -> str:
    return _url(bridge_url, STREAMS, grant)


def session_url(bridge_url: str, grant: str) -> str:
    return _url(bridge_url, SESSIONS, grant)


def redact(text: str) -> str:
    """`text` with each grant in it replaced by `…`, whatever surrounds it.

    nats-server logs a refused publish with its whole subject, `bp.pull.<grant>.<asker>`, and with the client's name; a
    refused user by its name; a refused queue and a refused reply. HTTP clients and servers log URLs, and responses to
    uploads have the grant of the body in a header.
    """
    return _SECRET.sub(_shortened, text)


def quoted(text: str) -> str:
    """A text from outside as an error repeats it; of a text that could be a grant only the length is given."""
    return repr(text) if len(text) <= MOST_QUOTED else f"a text of {len(text)} characters"


def _shortened(match: re.Match[str]) -> str:
    return f"{match[1] or match[2] or match[3] or ''}…"


def _url(bridge_url: str, path: str, grant: str) -> str:
    return f"{bridge_url.rstrip('/')}{path}{grant}"
