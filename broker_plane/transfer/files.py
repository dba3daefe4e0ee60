"""fs: a file in a directory that the user allowed. sftp: a file on a host whose public key is known."""

from __future__ import annotations

import asyncio
import stat
from collections.abc import AsyncGenerator
from typing import Any
from urllib.parse import unquote, urlsplit

import anyio

from broker_plane.errors import AuthFailedError, TransferError, TransferInterruptedError, UnsupportedProtocolError
from broker_plane.transfer.allowance import Allowance
from broker_plane.transfer.reach import Reach
from broker_plane.wire.descriptor import Descriptor
from broker_plane.wire.protocols import SFTP_SCHEMES

_PIECE_BYTES = 1 << 18
_SILENCE_SECONDS = 30.0


async def fs_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The bytes of a file.

    Raises:
        ForbiddenPathError: it is outside the allowed directories. TransferError: it cannot be read.
    """
    path = reach.path(descriptor.endpoint)
    try:
        found = await anyio.Path(path).stat()
        if not stat.S_ISREG(found.st_mode):
            raise TransferError("This is not a regular file but a directory, a device or a pipe")
        allowance.announce(found.st_size)
        async with await anyio.open_file(path, "rb") as file:
            while piece := await file.read(_PIECE_BYTES):
                yield piece
    except OSError as error:
        raise TransferError(f"The file cannot be read: {error.strerror}") from error


async def sftp_source(descriptor: Descriptor, reach: Reach, allowance: Allowance) -> AsyncGenerator[bytes, None]:
    """The bytes of a file on another host.

    `auth` is `header`, with the user name as `header_name` and the password as `value`. The descriptor's member
    `host_key`, the host's public key as a line of OpenSSH, is required: it authenticates the host.

    Raises:
        UnsupportedProtocolError: asyncssh is not installed, or `host_key` is missing. AuthFailedError,
        TransferInterruptedError.
    """
    try:
        import asyncssh
    except ImportError as error:
        raise UnsupportedProtocolError("sftp needs asyncssh: pip install 'broker-plane[transfer]'") from error
    host_key = (descriptor.model_extra or {}).get("host_key")
    if not isinstance(host_key, str):
        raise UnsupportedProtocolError("A descriptor of sftp needs host_key, the host's public key")
    target = await reach.check(descriptor.endpoint, SFTP_SCHEMES)
    try:
        options = _options(descriptor, asyncssh.import_public_key(host_key))
        async with (
            asyncssh.connect(target.address, target.port, **options) as connection,
            connection.start_sftp_client() as sftp,
            sftp.open(unquote(urlsplit(descriptor.endpoint).path), "rb") as file,
        ):
            async with asyncio.timeout(_SILENCE_SECONDS):
                size = (await file.stat()).size
            if size is not None:
                allowance.announce(size)
            while True:
                async with asyncio.timeout(_SILENCE_SECONDS):
                    piece = await file.read(_PIECE_BYTES)
                if not piece:
                    return
                yield piece if isinstance(piece, bytes) else piece.encode()
    except asyncssh.PermissionDenied as error:
        raise AuthFailedError("The host rejected the descriptor's credential") from error
    except (asyncssh.Error, OSError) as error:
        raise TransferInterruptedError(
            "The host closed the connection, or its key is not host_key", reason=repr(error)
        ) from error


def _options(descriptor: Descriptor, host_key: Any) -> dict[str, Any]:
    """Options of a connection that trusts `host_key` alone, and uses no key, agent or configuration of this machine."""
    auth = descriptor.auth
    return {
        "username": (auth.header_name if auth else None) or "anonymous",
        "password": auth.value if auth else None,
        "known_hosts": ([host_key], [], []),
        "client_keys": None,
        "agent_path": None,
        "config": None,
        "compression_algs": ["none"],
        "connect_timeout": _SILENCE_SECONDS,
        "login_timeout": _SILENCE_SECONDS,
    }
