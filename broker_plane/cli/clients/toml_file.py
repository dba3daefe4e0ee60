"""A client's file in TOML, of which one server is changed: comments, order and form of the rest are kept. Pure."""

from __future__ import annotations

import tomllib
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError

from broker_plane.errors import ConfigError

Entry = dict[str, Any]


class TomlFile:
    """The text of a file whose table `key` has the servers.

    Raises:
        ConfigError: it is not such a file; the message begins with `place`.
    """

    def __init__(self, text: str, key: str, place: str) -> None:
        self.text = text
        self._key = key
        self._place = place
        try:
            self._value = tomllib.loads(text)
        except tomllib.TOMLDecodeError as error:
            raise ConfigError(
                f"{place} is not valid TOML ({error}). Correct it by hand; nothing was written"
            ) from error
        servers = self._value.get(key, {})
        if not isinstance(servers, dict):
            raise ConfigError(f"{place}: {key} is not a table. Correct it by hand; nothing was written")
        self.servers: dict[str, Any] = servers

    def with_server(self, name: str, entry: Entry | None) -> str:
        """The text with this server, or without it if `entry` is None."""
        servers = {each: value for each, value in self.servers.items() if entry is not None or each != name}
        changed = {**self._value, self._key: servers if entry is None else {**servers, name: entry}}
        try:
            text = self._edited(name, entry)
            made = tomllib.loads(text)
        except (TOMLKitError, tomllib.TOMLDecodeError, TypeError, ValueError) as error:
            raise self._unchangeable() from error
        if {self._key: {}, **made} != changed:  # the table of the servers goes with the last of them
            raise self._unchangeable()
        return text

    def _edited(self, name: str, entry: Entry | None) -> str:
        document = tomlkit.parse(self.text)
        if entry is None:
            servers = document.get(self._key, {})
            if name in servers:
                del servers[name]
            return document.as_string()
        if self._key not in document:
            document[self._key] = tomlkit.table(is_super_table=True)
        servers = document[self._key]
        if isinstance(self.servers.get(name), dict):
            _change(servers[name], self.servers[name], entry)
        else:
            servers[name] = _table(entry)
        return document.as_string()

    def _unchangeable(self) -> ConfigError:
        return ConfigError(f"{self._place} could not be changed in place. Change it by hand; nothing was written")


def _change(table: Any, before: Entry, entry: Entry) -> None:
    """Change the members that differ. The others stay, with their comments, and so do the comments between them."""
    for name in before:
        if name not in entry:
            del table[name]
    for name, value in entry.items():
        known = before.get(name)
        if isinstance(known, dict) and isinstance(value, dict):
            _change(table[name], known, value)
        elif isinstance(value, dict):
            table[name] = tomlkit.inline_table()  # a table would come after the comments that follow this one
            table[name].update(value)
        elif name not in before or known != value:
            table[name] = value


def _table(entry: Entry) -> Any:
    table = tomlkit.table()
    for name, value in entry.items():
        table[name] = _table(value) if isinstance(value, dict) else value
    return table
