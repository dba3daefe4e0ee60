"""Changes one server in a client's file. The file is replaced at once, and its first content is kept in `.bak`."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from broker_plane.cli.clients.entries import (
    Entry,
    is_ours,
    is_outdated,
    is_proxied,
    same_server,
    unwrapped,
    upstream_of,
    wrapped,
)
from broker_plane.cli.clients.json_file import JsonFile
from broker_plane.cli.clients.launcher import Launcher
from broker_plane.cli.clients.records import Records
from broker_plane.cli.clients.registry import ClientProgram
from broker_plane.cli.clients.server_names import upstream_text
from broker_plane.cli.clients.toml_file import TomlFile
from broker_plane.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Change:
    """A change to the file: the server's entry, None if it is removed, and the whole new text. `made` is False if the
    entry was as it has to be: then nothing is written."""

    path: Path
    name: str
    entry: Entry | None
    text: str
    made: bool = True


class _File(Protocol):
    servers: dict[str, Any]
    text: str

    def with_server(self, name: str, entry: Entry | None) -> str: ...


class ClientFile:
    """The configuration file of one client. With `dry_run` nothing is written.

    All methods raise:
        ConfigError: the file is damaged or has another form, or the change does not fit it; nothing was written.
    """

    def __init__(self, client: ClientProgram, path: Path, records: Records, *, dry_run: bool = False) -> None:
        self._client = client
        self._path = path
        self._records = records
        self._dry_run = dry_run

    def install(self, name: str, entry: Entry) -> Change:
        """Write `entry` as server `name`. Another server of that name is refused."""
        file = self._read()
        known = file.servers.get(name)
        if known is not None and not is_ours(known):
            raise ConfigError(
                f"{self._path} has another server {name!r}: choose another --name, or put that one behind the proxy "
                f"with --wrap {name}; nothing was written"
            )
        if known is not None and upstream_of(known) != upstream_of(entry):
            raise ConfigError(
                f"{self._path} has a server {name!r} already, which runs {upstream_text(upstream_of(known))}: choose "
                f"another --name, or remove that one with uninstall --name {name}; nothing was written"
            )
        return self._changed(file, name, entry)

    def wrap(self, name: str, launcher: Launcher, options: Sequence[str] = ()) -> Change:
        """Put the configured server `name` behind the proxy. One that is there already stays as it is."""
        file = self._read()
        found = self._server(file, name)
        if is_proxied(found) and options:
            raise ConfigError(
                f"{self._path}: {name} is already behind the proxy. To change options of the proxy, use "
                f"--unwrap {name} first; nothing was written"
            )
        if is_proxied(found) and not is_outdated(found):
            return Change(self._path, name, found, file.text, made=False)
        return self._changed(file, name, self._placed(lambda: wrapped(self._client, launcher, name, found, options)))

    def unwrap(self, name: str) -> Change:
        """Put the server that is behind the proxy back to what it was."""
        file = self._read()
        found = self._server(file, name)
        plain = self._placed(lambda: unwrapped(self._client, name, found))
        return self._changed(file, name, self._restored(name, plain), ends=True)

    def uninstall(self, name: str) -> Change:
        """Remove what `install` added as server `name`, and restore what it wrapped.

        Without a record of it, as in another clone of a project, a server behind the proxy stays, without the proxy.
        """
        file = self._read()
        found = self._server(file, name)
        if not is_ours(found):
            raise ConfigError(f"{self._path}: {name} does not start broker-plane; nothing was written")
        before = self._records.before(self._path, name)
        if not upstream_of(found) or (before is not None and before["entry"] is None):
            return self._changed(file, name, (before or {}).get("entry"), ends=True)
        return self._changed(file, name, self._restored(name, unwrapped(self._client, name, found)), ends=True)

    def _restored(self, name: str, plain: Entry) -> Entry:
        """The entry before it was wrapped; `plain` if the record is of another server, because somebody changed it."""
        before = (self._records.before(self._path, name) or {}).get("entry")
        return before if isinstance(before, dict) and same_server(before, plain) else plain

    def _server(self, file: _File, name: str) -> Entry:
        found = file.servers.get(name)
        if not isinstance(found, dict):
            raise ConfigError(f"{self._path} has no server {name!r}; it has: {', '.join(file.servers) or 'none'}")
        return found

    def _placed(self, change: Callable[[], Entry]) -> Entry:
        try:
            return change()
        except ConfigError as error:
            raise ConfigError(f"{self._path}: {error}") from error

    def _changed(self, file: _File, name: str, entry: Entry | None, *, ends: bool = False) -> Change:
        text = file.with_server(name, entry)
        if not self._dry_run:
            if not ends:
                self._note(name, file.servers.get(name))
            _write(self._path, text)
            if ends:
                self._records.forget(self._path, name)
        return Change(self._path, name, entry, text)

    def _note(self, name: str, known: Any) -> None:
        """Note what `uninstall` restores. An entry of ours is nothing to restore, and keeps the record that it has."""
        if not is_ours(known):
            self._records.note(self._path, name, known)
        elif not upstream_of(known) and self._records.before(self._path, name) is None:
            self._records.note(self._path, name, None)

    def _read(self) -> _File:
        try:
            text = self._path.read_bytes().decode()
        except FileNotFoundError:
            text = ""
        except UnicodeDecodeError as error:
            raise ConfigError(
                f"{self._path} is not valid UTF-8 ({error}). Correct it by hand; nothing was written"
            ) from error
        if self._client.format == "toml":
            return TomlFile(text, self._client.servers, str(self._path))
        comments = self._client.format == "jsonc"
        return JsonFile(text, self._client.servers, str(self._path), comments=comments)


def _write(path: Path, text: str) -> None:
    """Replace the file atomically with its previous mode, and keep a copy of the old one."""
    path = path.resolve()
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".part")
    part.write_bytes(text.encode())
    if path.exists():
        shutil.copymode(path, part)
        _keep(path)
    part.replace(path)


def _keep(path: Path) -> None:
    """Back up the file. Earlier backups are kept, so the first one is the original."""
    number = 0
    while (copy := path.with_name(f"{path.name}.bak{number or ''}")).exists():
        if copy.read_bytes() == path.read_bytes():
            return
        number += 1
    shutil.copy2(path, copy)
