"""Descriptions of protocols: what a model, or a person, has to know to transfer bytes over one. Pure.

A description is a JSON object. Members that this version does not know are kept, and are part of its digest. Texts are
in tiers, as in SEP-2433: `high` for a reader who knows the field, `mid` with the details, `full` with everything.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from broker_plane.errors import RegistryError
from broker_plane.registry.agora import agora_of
from broker_plane.registry.canonical import canonical
from broker_plane.registry.versions import SemanticVersion, parse_version
from broker_plane.wire.names import is_owner

MAX_DESCRIPTION_BYTES: Final = 256 << 10
"""Largest description in its canonical form."""

BUILTIN: Final = "builtin"
COMPOSED: Final = "composed"
RESERVED: Final = frozenset({BUILTIN, COMPOSED})
"""Owners that nobody is: of the descriptions in this package, and of those that were composed and not published."""

Tier = Literal["high", "mid", "full"]
TIERS: Final[tuple[Tier, ...]] = ("high", "mid", "full")
Facet = Literal["transport", "auth", "pagination", "compression", "encoding", "direction"]
FACETS: Final[tuple[Facet, ...]] = ("transport", "auth", "pagination", "compression", "encoding", "direction")
"""What a transfer is made of, in the order in which a reader needs it."""

_NAME = r"[a-z][a-z0-9-]{0,62}"
_WORD = r"^[a-z0-9][a-z0-9+._-]{0,62}\Z"
_ID = re.compile(rf"(?P<owner>[a-z0-9_-]{{1,32}})/(?P<name>{_NAME})\Z")

Word = Annotated[str, Meta(pattern=_WORD)]
_ONE_LINE = r"^[^\x00-\x1f\x7f]*\Z"
Line = Annotated[str, Meta(pattern=_ONE_LINE, max_length=500)]
Title = Annotated[str, Meta(pattern=_ONE_LINE, min_length=1, max_length=100)]
Text = Annotated[str, Meta(min_length=1)]
Words = Annotated[tuple[Word, ...], Meta(max_length=64)]
Texts = Annotated[tuple[Text, ...], Meta(max_length=64)]


class TierTexts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The text of each tier that there is."""

    high: str = ""
    mid: str = ""
    full: str = ""

    def named(self) -> dict[Tier, str]:
        """The texts that are not empty, by tier, the shortest tier first."""
        return {tier: text for tier in TIERS if (text := getattr(self, tier))}


class ProtocolParameter(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A member that descriptors of this protocol may have, which generated code reads in PARAMETERS."""

    description: Line
    default: Any = None
    required: bool = False


class ProtocolDescription(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One version of a description. `format` is a media type, `schemes` the URL schemes of endpoints.

    `provides`, `assumes` and `needs` say how it fits together with others (composition.py): what it settles, what it
    takes for granted unless another one settles it, and what must be settled, with the permitted values.
    """

    id: str
    version: str
    title: Title
    tiers: TierTexts
    summary: Line = ""
    protocol: Annotated[str, Meta(pattern=r"^[a-z][a-z0-9+.-]{0,200}\Z")] | None = None
    """The `protocol` of its descriptors; by default the name."""
    mode: Literal["fetch", "push", "stream", "collaborate"] = "fetch"
    format: Annotated[str, Meta(pattern=_ONE_LINE, min_length=1, max_length=200)] = "application/octet-stream"
    method: Annotated[str, Meta(pattern=r"^[A-Z]{1,16}\Z")] | None = None
    schemes: Words = ()
    endpoint: Line = ""
    """What its endpoints look like, for people: `https://{host}/v1/{collection}`."""
    auth: tuple[Literal["bearer", "header", "query", "hmac", "none"], ...] = ()
    """The kinds of credentials that fit; empty for any."""
    examples: Texts = ()
    constraints: Texts = ()
    parameters: dict[Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,62}\Z")], ProtocolParameter] = {}
    tags: Words = ()
    provides: dict[Facet, Word] = {}
    assumes: dict[Facet, Word] = {}
    needs: dict[Facet, Words] = {}
    combines: Annotated[tuple[Line, ...], Meta(max_length=64)] = ()
    """The descriptions, as `id@version`, that it was composed of."""
    servers: Annotated[tuple[Line, ...], Meta(max_length=16)] = ()
    """MCP servers (URLs of streamable HTTP) that hand out descriptors of this protocol."""

    @property
    def owner(self) -> str:
        """The part of the id before the slash."""
        return self.id.partition("/")[0]

    @property
    def name(self) -> str:
        """The part of the id after the slash."""
        return self.id.partition("/")[2]

    @property
    def word(self) -> str:
        """The `protocol` of its descriptors."""
        return self.protocol or self.name

    @property
    def semantic_version(self) -> SemanticVersion:
        """The version, parsed."""
        return parse_version(self.version)

    @property
    def names_version(self) -> str:
        """`id@version`."""
        return f"{self.id}@{self.version}"

    def nearest(self, tier: Tier) -> Tier:
        """The tier, or the next longer one that there is a text for, or the longest."""
        have = [*self.tiers.named()]
        return next((each for each in have if TIERS.index(each) >= TIERS.index(tier)), have[-1])

    def text_of(self, tier: Tier) -> str:
        """The text of the nearest tier."""
        return self.tiers.named()[self.nearest(tier)]

    def fields(self) -> dict[str, Any]:
        """The JSON object, without members that have their defaults."""
        found: dict[str, Any] = msgspec.to_builtins(self)
        return found


def parse_id(text: str) -> tuple[str, str]:
    """(owner, name) of an id.

    Raises:
        RegistryError: it is not an id.
    """
    found = _ID.match(text)
    if found is None or not is_owner(found["owner"]):
        raise RegistryError(
            f"{text[:100]!r} is not the id of a protocol, owner/name: a name has 1 to 63 of a-z, 0-9 and -, and begins "
            "with a letter"
        )
    return found["owner"], found["name"]


def parse_description(fields: Any) -> ProtocolDescription:
    """The description of parsed JSON.

    Raises:
        RegistryError: it is malformed or too large; the message names the first wrong member.
    """
    try:
        found = msgspec.convert(fields, ProtocolDescription)
    except msgspec.ValidationError as error:
        raise RegistryError(f"This is not a description of a protocol: {error}") from None
    parse_id(found.id)
    parse_version(found.version)
    agora_of(fields)  # its document has the hash that it says
    if not found.tiers.named():
        raise RegistryError("A description has a text of at least one tier: high, mid or full")
    for facet in found.provides.keys() & found.assumes.keys():
        raise RegistryError(f"A description provides a facet or assumes it, not both: {facet}")
    if (size := len(canonical(fields))) > MAX_DESCRIPTION_BYTES:
        raise RegistryError(f"The description has {size:,} bytes; the most is {MAX_DESCRIPTION_BYTES:,}")
    return found
