"""Where a descriptor may lead: endpoints and paths named by another server are checked before they are used."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

from broker_plane.client.guard import RequestTarget, descriptor_guard
from broker_plane.client.trust import Trust
from broker_plane.errors import ForbiddenPathError, UntrustedHostError
from broker_plane.wire.protocols import Scheme


@dataclass(frozen=True, slots=True, kw_only=True)
class Reach:
    """`trust` knows our own bridges; `networks` are allowed besides public hosts; `fs` reads in `directories` only."""

    trust: Trust
    networks: Sequence[str] = ()
    directories: Sequence[Path] = ()

    async def check(self, url: str, schemes: Sequence[Scheme]) -> RequestTarget:
        """The target of `url`, whose scheme is one of `schemes`.

        Public hosts are contacted over encrypted schemes at their usual ports; hosts in `networks` in any way.

        Raises:
            UntrustedHostError: it must not be contacted; nothing was sent.
            BrokerUnavailableError: its name does not resolve now.
        """
        return await descriptor_guard(self.networks).check(url, schemes, own=self._ours(url))

    def path(self, endpoint: str) -> Path:
        """The file of `endpoint` (a path or a file: URL), with symbolic links resolved.

        Raises:
            ForbiddenPathError: it is outside the directories.
        """
        text = unquote(urlsplit(endpoint).path) if endpoint.lower().startswith("file:") else endpoint
        try:
            path = Path(text).resolve()
            allowed = any(path.is_relative_to(directory.resolve()) for directory in self.directories)
        except (OSError, ValueError, RuntimeError) as error:
            raise ForbiddenPathError("This endpoint is not the path of a file") from error
        if not allowed or not Path(text).is_absolute():
            raise ForbiddenPathError(
                "This path is outside the directories that descriptors may read; list its directory in "
                "BROKER_PLANE_TRANSFER_DIRECTORIES"
            )
        return path

    def _ours(self, url: str) -> bool:
        scheme, found, rest = url.partition("?")[0].partition("://")
        plain = {"ws": "http", "wss": "https"}.get(scheme, scheme) + found + rest
        for check in (self.trust.check, self.trust.check_stream):
            with suppress(UntrustedHostError):
                check(plain)
                return True
        return False
