"""Hosts in one spelling, as settings and URLs name them. Pure."""

from __future__ import annotations

from ipaddress import ip_address


def one_spelling(host: str) -> str:
    """A host in lower case, without brackets or a final dot; IPv6 as the standard library writes it, names in ASCII.

    An address of IPv4 has one spelling only: what else resolves to it (127.1, 127.0.0.1.) is another host. So is a
    single word with a dot behind it, which is looked up at the root and not in the local domain.
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
    """Internationalized names as they travel (RFC 5890: A-labels); what is none stays as it is."""
    if text.isascii():
        return text
    import idna  # few names need it

    try:
        return idna.encode(text, uts46=True).decode()
    except idna.IDNAError:
        return text
