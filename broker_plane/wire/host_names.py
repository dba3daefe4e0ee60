"""One spelling of hosts for settings and URLs. Pure."""

from __future__ import annotations

from functools import lru_cache
from ipaddress import ip_address


@lru_cache(64)
def one_spelling(host: str) -> str:
    """A host in lower case, without brackets or a final dot; IPv6 as the standard library writes it, names in ASCII.

    An IPv4 address has exactly one spelling: other texts that resolve to it (127.1, 127.0.0.1.) are other hosts. So is
    a single word with a final dot, which is looked up at the root and not in the local domain.
    """
    host = host.removeprefix("[").removesuffix("]").lower()
    try:
        return str(ip_address(host))
    except ValueError:
        pass
    name = ascii_name(host)
    bare = name.removesuffix(".")
    return name if "." not in bare or bare.replace(".", "").isdigit() else bare


def ascii_name(text: str) -> str:
    """Internationalized names as A-labels (RFC 5890); other texts stay as they are."""
    if text.isascii():
        return text
    import idna  # few names need it

    try:
        return idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        return text
