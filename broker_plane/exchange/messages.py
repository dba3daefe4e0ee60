"""What an exchange is made of: its key, and its numbered messages. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from broker_plane.errors import WireError

_TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}\Z")


@dataclass(frozen=True, slots=True)
class ExchangeKey:
    """Names one exchange. Each part is of A-Z, a-z, 0-9, _ and -; session and exchange are unguessable.

    Raises:
        WireError: a part has other characters, with which a subject could name the exchanges of others.
    """

    server: str
    session: str
    exchange: str

    def __post_init__(self) -> None:
        if not (_TOKEN.match(self.server) and _TOKEN.match(self.session) and _TOKEN.match(self.exchange)):
            raise WireError("The server, session or exchange has characters other than A-Z, a-z, 0-9, _ and -")

    @property
    def carrier(self) -> str:
        """The letter of the carrier, with which its sessions begin."""
        return self.session[:1]


@dataclass(frozen=True, slots=True)
class Said:
    """A numbered message of an exchange: `seq` from 1; `last` is the answer."""

    seq: int
    line: bytes
    last: bool = False
