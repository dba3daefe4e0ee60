"""A client's file in JSON, of which one server is changed: everything else keeps its order, form and comments. Pure."""

from __future__ import annotations

import json
import re
from typing import Any

from broker_plane.cli.clients.json_members import Member, Object, object_at, plain_json, without_comments
from broker_plane.errors import ConfigError
from broker_plane.formats.duplicate_names import duplicate_name
from broker_plane.wire.exact_json import MALFORMED, loads

Entry = dict[str, Any]
_INDENT = "  "
_COMMA = re.compile(r"\s*,")
_LINE = re.compile(r"[ \t]*(?=(\r?\n))")
"""The white space up to the end of a line."""


class JsonFile:
    """The text of a file whose member `key` has the servers. With `comments`, it may have comments and trailing commas.

    Raises:
        ConfigError: it is not such a file; the message begins with `place`.
    """

    def __init__(self, text: str, key: str, place: str, *, comments: bool) -> None:
        self.text = text if text.strip() else ""
        self._key = key
        self._place = place
        self._comments = comments
        self._value = self._parsed(self.text) if self.text else {}
        servers = self._value.get(key, {})
        if not isinstance(servers, dict):
            raise ConfigError(f"{place}: {key} is not an object. Correct it by hand; nothing was written")
        self.servers: dict[str, Any] = servers

    def with_server(self, name: str, entry: Entry | None) -> str:
        """The text with this server, or without it if `entry` is None."""
        servers = {each: value for each, value in self.servers.items() if entry is not None or each != name}
        changed = {**self._value, self._key: servers if entry is None else {**servers, name: entry}}
        if "\n" not in self.text.strip() and not self._has_comments():
            return _json(changed, _INDENT) + "\n"  # a line has no form to keep
        text = self._edited(name, entry)
        if entry is not None and isinstance(self.servers.get(name), dict):
            kept = self._with_members(name, entry)
            text = kept if self._parses_to(kept, changed) else text
        if self._parsed(text) != changed:
            raise ConfigError(f"{self._place} could not be changed in place. Change it by hand; nothing was written")
        return text

    def _parsed(self, text: str) -> dict[str, Any]:
        plain = plain_json(text) if self._comments else text
        try:
            raw = plain.encode("utf-8", "surrogatepass")
            value = loads(raw)
        except MALFORMED as error:
            raise ConfigError(
                f"{self._place} is not valid JSON ({error}). Correct it by hand; nothing was written"
            ) from error
        if (twice := duplicate_name(raw, value)) is not None:
            raise ConfigError(
                f"{self._place} has an object with two values for {twice!r}, of which only one could be kept. Correct "
                "it by hand; nothing was written"
            )
        if not isinstance(value, dict):
            raise ConfigError(f"{self._place} is not a JSON object. Correct it by hand; nothing was written")
        return value

    def _parses_to(self, text: str, value: dict[str, Any]) -> bool:
        try:
            return self._parsed(text) == value
        except ConfigError:
            return False

    def _has_comments(self) -> bool:
        return self._comments and plain_json(self.text) != self.text

    def _with_members(self, name: str, entry: Entry) -> str:
        """The text with the members of the server that differ changed, so that the comments between them stay."""
        text, before = self.text, self.servers[name]
        if not before.keys() & entry.keys():
            return self._edited(name, entry)
        for each in [each for each in {**before, **entry} if each not in entry or before.get(each) != entry[each]]:
            bare, plain = (without_comments(text), plain_json(text)) if self._comments else (text, text)
            server = _member_object(plain, self._key, name)
            member = server.member(each)
            if each not in entry:
                text = text if member is None else _removed(text, bare, server, member)
            elif member is None:
                text = _added(text, bare, server, each, entry[each])
            else:
                text = _replaced(text, member, entry[each])
        return text

    def _edited(self, name: str, entry: Entry | None) -> str:
        text = self.text
        bare = without_comments(text) if self._comments else text
        plain = plain_json(text) if self._comments else text
        root = object_at(plain)
        found = root.member(self._key)
        if found is None:
            return text if entry is None else _added(text, bare, root, self._key, {name: entry})
        servers = object_at(plain, found.value)
        member = servers.member(name)
        if entry is None:
            return text if member is None else _removed(text, bare, servers, member)
        if member is None:
            return _added(text, bare, servers, name, entry)
        return _replaced(text, member, entry)


def _member_object(plain: str, *names: str) -> Object:
    """The object behind these names, from the root."""
    found = object_at(plain)
    for name in names:
        member = found.member(name)
        assert member is not None  # noqa: S101  # the parsed value has it
        found = object_at(plain, member.value)
    return found


def _replaced(text: str, member: Member, value: Any) -> str:
    """The text with another value of a member, on one line if the former one was."""
    if "\n" in text[member.value : member.end]:
        shown = _shown(text, value, _indent_at(text, member.start))
    else:
        shown = _json(value, None)
    return text[: member.value] + shown + text[member.end :]


def _added(text: str, bare: str, into: Object, name: str, value: Entry) -> str:
    """The text with one more member at the end of an object. `bare` is the text without comments."""
    line_end = "\r\n" if "\r\n" in text else "\n"
    indent = _indent_at(text, into.members[-1].start) if into.members else _indent_at(text, into.start) + _unit(text)
    shown = f"{line_end}{indent}{json.dumps(name, ensure_ascii=False)}: {_shown(text, value, indent)}"
    if not into.members:
        close = into.end - 1
        inner = text[into.start + 1 : close].rstrip()
        return text[: into.start + 1] + inner + shown + line_end + _indent_at(text, into.start) + text[close:]
    end = into.members[-1].end
    comma = _COMMA.match(bare, end)
    place = comma.end() if comma else end
    line = _LINE.match(bare, place)  # comments on the last member's line stay there
    stop = min(line.end(), into.end - 1) if line else place
    return text[:end] + ("" if comma else ",") + text[end:stop] + shown + ("," if comma else "") + text[stop:]


def _removed(text: str, bare: str, servers: Object, member: Member) -> str:
    """The text without one member, and without its line if nothing else is on it."""
    place = servers.members.index(member)
    start, end = member.start, member.end
    if comma := _COMMA.match(bare, end):
        end = comma.end()
    elif place:  # the comma before it goes, because nothing follows
        at = bare.index(",", servers.members[place - 1].end)
        text = text[:at] + text[at + 1 :]
        start, end = start - 1, end - 1
    line = text.rfind("\n", 0, start) + 1
    rest = _LINE.match(text, end)
    if not text[line:start].strip() and rest is not None:
        start, end = line, rest.end(1)
    return text[:start] + text[end:]


def _indent_at(text: str, place: int) -> str:
    """The white space at the beginning of the line of a place."""
    line = text[text.rfind("\n", 0, place) + 1 : place]
    return line[: len(line) - len(line.lstrip(" \t"))]


def _unit(text: str) -> str:
    """The indentation of the file's first indented line."""
    found = re.search(r"\n([ \t]+)\S", text)
    return found[1] if found else _INDENT


def _shown(text: str, value: Any, indent: str) -> str:
    line_end = "\r\n" if "\r\n" in text else "\n"
    return _json(value, _unit(text)).replace("\n", line_end + indent)


def _json(value: Any, indent: str | None) -> str:
    """`value` as JSON, without `indent` on one line; escaped only if it has a lone surrogate, which is not in UTF-8."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    try:
        text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, indent=indent)
    return text
