"""The three foreign protocols of `levels` as a resource server describes them: in a Level 2 descriptor each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

from .levels_events import EventsServer
from .levels_frames import FramesServer
from .levels_pages import PagesServer
from .levels_rows import csv_of, digest_of
from .levels_state import State
from .levels_texts import FRAMED_TCP, RESULT, SIGNED_PAGES, TICKER_EVENTS, one_line

ForeignServer = PagesServer | FramesServer | EventsServer


@dataclass(frozen=True, slots=True)
class Protocol:
    """A protocol that no handler knows. `text`, `examples` and `constraints` are what a model reads."""

    name: str
    serve: Callable[[int, State], ForeignServer]
    """Takes the port (0: any that is free) and the state."""
    endpoint: str
    auth: Literal["hmac", "bearer", "none"]
    text: str
    examples: tuple[str, ...]
    constraints: tuple[str, ...]

    def descriptor(self, port: int, secret: str, rows: int) -> dict[str, Any]:
        """The descriptor of the readings at this server, as JSON; it has the secret."""
        auth = {"type": self.auth} if self.auth == "none" else {"type": self.auth, "value": secret}
        return {
            "$schema": "mcp/transfer-descriptor/v1",
            "transfer_id": str(uuid4()),
            "mode": "fetch",
            "protocol": self.name,
            "endpoint": self.endpoint.format(port=port),
            "format": "text/csv",
            "auth": auth,
            "size_hint": len(csv_of(rows)),
            "checksum": f"sha256:{digest_of(rows)}",
            "fallback": "error",
            "description": {
                "tier": "high",
                "text": one_line(self.text, RESULT),
                "examples": [*self.examples],
                "constraints": [*self.constraints],
            },
            "sandbox": {
                "runtime": "python",
                "timeout_ms": 60_000,
                "allowed_hosts": ["127.0.0.1"],
                "allowed_ports": [port],
            },
        }


PROTOCOLS = {
    protocol.name: protocol
    for protocol in (
        Protocol(
            "x-signed-pages",
            PagesServer,
            "http://127.0.0.1:{port}/gauges/7/readings",
            "hmac",
            SIGNED_PAGES,
            ('GET /gauges/7/readings?page=1 → {"page":1,"pages":8,"rows":[[1,1767225600,2041],[2,1767225600,-310]]}',),
            ("Request one page at a time.", "Raise an exception with the answer's body unless its status is 200."),
        ),
        Protocol(
            "x-framed-tcp",
            FramesServer,
            "tcp://127.0.0.1:{port}/gauges/7",
            "none",
            FRAMED_TCP,
            ("request 58 46 01 08 67 61 75 67 65 73 2f 37 → header 58 46 01 00 00 07 d0",),
            ("Check each CRC.", "Check the number of records.", "If the version is another one, raise with the text."),
        ),
        Protocol(
            "x-ticker-events",
            EventsServer,
            "http://127.0.0.1:{port}/ticker/7",
            "bearer",
            TICKER_EVENTS,
            ("#open 2\\n\\n#part 1\\n|c3Rh\\n|dGlv\\n\\n*\\n#part 2\\n|bgo=\\n\\n#fin 2\\n\\n",),
            (
                "A stream that ends before `fin` is an error.",
                "Raise with the line itself for a line of any other form.",
            ),
        ),
    )
}
"""By name."""
