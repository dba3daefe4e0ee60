"""The names of one run: each is looked up once, so an answer that changes later (DNS rebinding) leads nowhere else."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address

from broker_plane.client.guard import Resolver


class PinnedNames:
    """Remembers the first answer of `resolver` for each name; a failure is not an answer."""

    def __init__(self, resolver: Resolver) -> None:
        self._resolver = resolver
        self._found: dict[str, Sequence[IPv4Address | IPv6Address]] = {}

    async def resolve(self, host: str, port: int) -> Sequence[IPv4Address | IPv6Address]:
        """The addresses that `host` had the first time. Raises as `addresses.resolve`."""
        if host not in self._found:
            found = await self._resolver(host, port)
            self._found.setdefault(host, found)
        return self._found[host]
