"""What clients and servers declare about descriptors (SEP-2433, section 1), under `extensions`. Pure.

Members are read in both spellings (`supportedProtocols`, `supported_protocols`). No declaration means inline.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, ValidationError
from pydantic.alias_generators import to_camel

from broker_plane.errors import WireError
from broker_plane.wire.descriptor import Compression, Runtime, Schema
from broker_plane.wire.names import EXTENSION

RESULT_TYPE: Final = "transfer_descriptor"
"""The `resultType` of a result that is a descriptor, for clients that declare it."""

SHORT_FORMATS = {
    "json": "application/json",
    "ndjson": "application/x-ndjson",
    "csv": "text/csv",
    "msgpack": "application/msgpack",
    "arrow": "application/vnd.apache.arrow.stream",
    "binary": "application/octet-stream",
}
"""SEP-2433's short names of formats, and their media types."""


def media_type_of(name: str) -> str:
    """The media type of a format's name, without parameters, in lower case."""
    essence = name.partition(";")[0].strip().lower()
    return SHORT_FORMATS.get(essence, essence)


class Capabilities(BaseModel):
    """A client's settings. An empty list of formats or compressions means that it takes any.

    `protocols` are those that it carries out itself (Level 1). `claims` are the `resultType`s that it takes, and
    `schema` is the spelling that it reads. `threshold` is in bytes: it prefers smaller bodies inline.
    """

    model_config = ConfigDict(
        frozen=True, extra="allow", hide_input_in_errors=True, populate_by_name=True, defer_build=True
    )

    protocols: tuple[str, ...] = Field((), validation_alias=AliasChoices("supportedProtocols", "supported_protocols"))
    formats: tuple[str, ...] = Field((), validation_alias=AliasChoices("supportedFormats", "supported_formats"))
    compressions: tuple[Compression, ...] = Field(
        (), validation_alias=AliasChoices("supportedCompressions", "supported_compressions")
    )
    runtimes: tuple[Runtime, ...] = ()
    level2: bool = False
    claims: tuple[str, ...] = ()
    schema_: Schema | None = Field(None, alias="schema")
    threshold: int | None = Field(None, ge=0)

    @property
    def media_types(self) -> frozenset[str]:
        return frozenset(map(media_type_of, self.formats))

    def to_wire(self) -> dict[str, Any]:
        """The settings that a client declares."""
        named = self.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude_none=True)
        return {_DECLARED.get(name, name): value for name, value in named.items()}


_DECLARED = {name: to_camel(f"supported_{name}") for name in ("protocols", "formats", "compressions")}


def parse_capabilities(settings: Any) -> Capabilities:
    """The capabilities of a client's settings.

    Raises:
        WireError: they are invalid; the message names the member.
    """
    try:
        return Capabilities.model_validate(settings)
    except ValidationError as error:
        first = error.errors(include_input=False, include_url=False, include_context=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise WireError(f"The client's settings for {EXTENSION} are invalid: {where}: {first['msg']}") from None


def declared(extensions: Mapping[str, Any] | None) -> Capabilities | None:
    """What a client's capability map declares about descriptors; None if nothing. Raises as its parser."""
    settings = (extensions or {}).get(EXTENSION)
    return None if settings is None else parse_capabilities(settings)
