"""Addresses to listen on, as options and settings spell them. Pure."""

from __future__ import annotations

import re

from broker_plane.errors import ConfigError

_ADDRESS = re.compile(r"(?:(?P<host>\[[0-9A-Fa-f:.]+\]|[^\[\]:]+):)?(?P<port>[0-9]{1,5})\Z", re.ASCII)


def parse_address(text: str) -> tuple[str, int]:
    """Host and port of `[HOST:]PORT`; the host is 127.0.0.1 by default.

    Raises:
        ConfigError: it has another form.
    """
    found = _ADDRESS.match(text)
    if found is None or int(found["port"]) > 65_535:
        raise ConfigError(f"{text!r} is not an address: write PORT, HOST:PORT or [IPv6]:PORT, such as 0.0.0.0:8100")
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])
