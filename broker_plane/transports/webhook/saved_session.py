"""The file in which a client keeps its session, so that a later process goes on with it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import orjson

from broker_plane.errors import ConfigError
from broker_plane.files.locks import FileLock
from broker_plane.files.private import write_private
from broker_plane.wire.names import encode_id
from broker_plane.wire.webhook_signing import SECRET_BYTES, secret_of

_CHANNEL_BYTES = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedSession:
    """A session of the front at `url`, the name of its channel, and the secret of its callback."""

    url: str
    channel: str
    secret: str
    session: str = ""

    def __repr__(self) -> str:
        return "SavedSession(…)"

    def with_session(self, session: str) -> SavedSession:
        """It with the id of the session."""
        return replace(self, session=session)

    def save(self, path: Path) -> None:
        """Write the file, which only this user may read."""
        write_private(path, orjson.dumps(asdict(self)), durable=True)


@contextmanager
def held(path: Path | None) -> Iterator[None]:
    """Keep other clients from the file for the time of the block: two would take each other's messages.

    Raises:
        ConfigError: another client has it, in this process or in another one; or it cannot be written.
    """
    if path is None:
        yield
        return
    try:
        lock = FileLock(path.with_name(f"{path.name}.lock"))
    except OSError as error:
        raise ConfigError(f"{path} cannot be written ({error.strerror}); name another file") from error
    try:
        if not lock.try_exclusive():
            raise ConfigError(
                f"Another client has the session in {path}; share that client, or give each one a file of its own"
            )
        yield
    finally:
        lock.close()


def new_saved(url: str, random_bytes: Callable[[int], bytes]) -> SavedSession:
    """What a new session begins with."""
    channel = encode_id(random_bytes(_CHANNEL_BYTES))
    return SavedSession(url=url, channel=channel, secret=secret_of(random_bytes(SECRET_BYTES)))


def load_saved(path: Path | None, url: str) -> SavedSession | None:
    """The session that a file keeps; None without a file.

    Raises:
        ConfigError: it cannot be read, or belongs to another front.
    """
    if path is None or not path.exists():
        return None
    try:
        found = SavedSession(**orjson.loads(path.read_bytes()))
    except (OSError, ValueError, TypeError) as error:
        raise ConfigError(f"{path} does not keep a webhook session; remove it, or name another file") from error
    if found.url != url:
        raise ConfigError(f"{path} keeps a session of another front; name another file")
    return found
