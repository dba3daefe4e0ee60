"""How near a host is, by its name alone: nothing is looked up, so the current address of a name makes no difference."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address
from typing import Literal
from urllib.parse import urlsplit

Nearness = Literal["loopback", "private", "public"]
_NEAR_SUFFIXES = (".local", ".internal", ".home.arpa")


@lru_cache(64)
def nearness(url: str) -> Nearness:
    """The nearness of the host in `url`. A single word (`bridge`) and the names reserved for private networks are
    private.

    A final dot marks a complete name (RFC 1034, section 3.1): `localhost.` and `nas.local.` are the same without it,
    and `bridge.` is a top-level domain. `10.0.0.1.` is an address to some readers (the URL standard) and a name to look
    up to others (curl, glibc), which may resolve to anything: it counts as public.
    """
    try:
        written = (urlsplit(url).hostname or "").lower()
    except ValueError:
        return "public"
    host = written.removesuffix(".")
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    if host != written:
        return "private" if host.endswith(_NEAR_SUFFIXES) else "public"
    try:
        address = ip_address(host)
    except ValueError:
        # Digits alone, or 0x…, are other spellings of addresses, which no private network uses.
        near = host.endswith(_NEAR_SUFFIXES) or (host.isalnum() and host[:1].isalpha())
        return "private" if near else "public"
    if address.is_loopback:
        return "loopback"
    return "private" if address.is_private and not address.is_unspecified else "public"
