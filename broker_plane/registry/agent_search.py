"""Which announcements match a search: by protocol, format, mode, direction and text. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import lru_cache
from typing import Literal

from broker_plane.errors import RegistryError
from broker_plane.registry.announcement import AgentAnnouncement, ServedProtocol
from broker_plane.registry.versions import VersionRange, is_version, parse_range, parse_version
from broker_plane.wire.capabilities import media_type_of
from broker_plane.wire.descriptor import Mode

Direction = Literal["serves", "consumes"]
_MAX_ASKED = 255


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentQuery:
    """What is looked for; everything that is given has to match. Formats and modes are those of what an agent serves.

    `protocol` is an id, or `id@range` with a version or a range such as `^1.2`. `format` is a media type in which `*`
    matches any text. `text` is words, each of which has to be in an id or a name. `payload_bytes` leaves out agents
    that take less.
    """

    text: str = ""
    protocol: str = ""
    format: str = ""
    mode: Mode | None = None
    direction: Direction | None = None
    level2: bool | None = None
    payload_bytes: int = 0

    def __post_init__(self) -> None:
        if max(map(len, (self.text, self.protocol, self.format))) > _MAX_ASKED:
            raise RegistryError(f"A search has at most {_MAX_ASKED} characters of text, protocol or format")
        if "@" in self.protocol:
            parse_range(self.protocol.partition("@")[2])
        if self.direction == "consumes" and (self.format or self.mode):
            raise RegistryError(
                "Agents announce formats and modes for what they serve only; search by protocol, or without consumes"
            )


@dataclass(frozen=True, slots=True)
class FoundAgent:
    """An announcement that matches, and the entries of `serves` that do."""

    announcement: AgentAnnouncement
    serves: tuple[ServedProtocol, ...] = ()


def matched(query: AgentQuery, announcement: AgentAnnouncement) -> FoundAgent | None:
    """The announcement with its matching entries; None if it does not match."""
    if not (_has_words(query.text, announcement) and _is_able(query, announcement)):
        return None
    serves = tuple(served for served in announcement.serves if _serves(query, served))
    consumes = any(_same_protocol(query.protocol, each) for each in announcement.consumes)
    asked = bool(query.protocol or query.format or query.mode)
    if query.direction == "serves":
        fits = bool(serves)
    elif query.direction == "consumes":
        fits, serves = consumes, ()
    else:
        fits = not asked or bool(serves) or (consumes and not (query.format or query.mode))
    return FoundAgent(announcement, serves) if fits else None


def _serves(query: AgentQuery, served: ServedProtocol) -> bool:
    return (
        _same_protocol(query.protocol, served.protocol_id)
        and (not query.format or any(_same_format(query.format, each) for each in served.formats))
        and (query.mode is None or query.mode in served.modes)
    )


def _same_protocol(asked: str, announced: str) -> bool:
    """Whether an announced id is the one that is asked for, in the range of versions if one is given."""
    if not asked:
        return True
    (name, _, versions), (own, _, version) = asked.partition("@"), announced.partition("@")
    if name != own or not versions:
        return name == own
    return is_version(version) and parse_version(version) in _range(versions)


@lru_cache(64)
def _range(text: str) -> VersionRange:
    return parse_range(text)


def _same_format(asked: str, announced: str) -> bool:
    return fnmatchcase(media_type_of(announced), media_type_of(asked).replace("[", "[[]").replace("?", "[?]"))


def _has_words(text: str, announcement: AgentAnnouncement) -> bool:
    protocols = (*(served.protocol_id for served in announcement.serves), *announcement.consumes)
    within = "\n".join((announcement.agent_id, announcement.name, *protocols)).casefold()
    return all(word in within for word in text.casefold().split())


def _is_able(query: AgentQuery, announcement: AgentAnnouncement) -> bool:
    able = announcement.capabilities
    if query.level2 is not None and able.level2 != query.level2:
        return False
    return able.max_payload_bytes is None or able.max_payload_bytes >= query.payload_bytes
