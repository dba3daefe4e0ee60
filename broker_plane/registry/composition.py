"""Composes several descriptions into one, after a check that they fit together. Pure.

A description *provides* facets: it says how the transfer authenticates, paginates or is encoded. Two descriptions that
say so for the same facet contradict each other, or say everything twice, so they do not fit. Transport and direction
are exceptions: several may have the same one. A description *needs* a facet with one of some values, and *assumes* one
that holds unless another description settles it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from broker_plane.errors import CompositionError, RegistryError
from broker_plane.registry.description import (
    COMPOSED,
    FACETS,
    MAX_DESCRIPTION_BYTES,
    TIERS,
    Facet,
    ProtocolDescription,
    Tier,
    parse_description,
)
from broker_plane.registry.joining import JOINED, WHOLE_PAGES, joining_text

_SHARED: Final[frozenset[Facet]] = frozenset({"transport", "direction"})
_MOST_PARTS = 16
_MOST_NAME = 63


@dataclass(slots=True)
class SettledFacets:
    """What each facet of the composition is, and the description that settled it."""

    values: dict[Facet, str] = field(default_factory=dict)
    by: dict[Facet, ProtocolDescription] = field(default_factory=dict)

    def settle(self, facet: Facet, value: str, part: ProtocolDescription) -> None:
        self.values[facet] = value
        self.by.setdefault(facet, part)


def compose(parts: Sequence[ProtocolDescription], identity: str = "", version: str = "1.0.0") -> dict[str, Any]:
    """The JSON object of one description that says what all `parts` say. `identity` is its id.

    Raises:
        CompositionError: they do not fit together; the message names the two that do not.
    """
    if not 1 <= len(parts) <= _MOST_PARTS:
        raise CompositionError(f"A composition has 1 to {_MOST_PARTS} descriptions")
    _check_distinct(parts)
    settled = _settled(parts)
    _check_needs(parts, settled)
    _check_joining(settled)
    ordered = sorted(parts, key=_place)
    fields = _merged(ordered, settled)
    fields |= {"id": identity or _identity(ordered), "version": version}
    try:
        parse_description(fields)
    except RegistryError as error:
        raise CompositionError(f"The composition is not a description: {error}") from error
    return fields


def _check_distinct(parts: Sequence[ProtocolDescription]) -> None:
    seen: set[str] = set()
    for part in parts:
        if part.id in seen:
            raise CompositionError(f"{part.id} is there twice; leave one of them out")
        seen.add(part.id)


def _settled(parts: Sequence[ProtocolDescription]) -> SettledFacets:
    settled = SettledFacets()
    for facet in FACETS:
        for part in (each for each in parts if facet in each.provides):
            value, other = part.provides[facet], settled.by.get(facet)
            if other is not None and (facet not in _SHARED or settled.values[facet] != value):
                _conflict(facet, other, settled.values[facet], part, value)
            settled.settle(facet, value, part)
    for facet in (facet for facet in FACETS if facet not in settled.values):
        for part in (each for each in parts if facet in each.assumes):
            value, other = part.assumes[facet], settled.by.get(facet)
            if other is not None and settled.values[facet] != value:
                _conflict(facet, other, settled.values[facet], part, value)
            settled.settle(facet, value, part)
    return settled


def _conflict(facet: Facet, one: ProtocolDescription, first: str, other: ProtocolDescription, second: str) -> NoReturn:
    raise CompositionError(
        f"{one.id} and {other.id} do not fit together: both settle the {facet} "
        + (f"({first})" if first == second else f"({first} and {second})")
    )


def _check_needs(parts: Iterable[ProtocolDescription], settled: SettledFacets) -> None:
    for part in parts:
        for facet, allowed in part.needs.items():
            found = settled.values.get(facet)
            if found in allowed:
                continue
            needs = f"{part.id} needs the {facet} {' or '.join(allowed)}"
            if found is None:
                raise CompositionError(f"{needs}, and none of the descriptions provides one: add one that does")
            raise CompositionError(f"{part.id} and {settled.by[facet].id} do not fit together: {needs}, not {found}")


def _check_joining(settled: SettledFacets) -> None:
    values, by = settled.values, settled.by
    if values.get("pagination", "") not in WHOLE_PAGES:
        return
    if values.get("encoding", "") not in JOINED:
        found = values.get("encoding", "")
        other = f" and {by['encoding'].id}" if found else ""
        raise CompositionError(
            f"{by['pagination'].id}{other} do not fit together: pages can be joined if they are "
            f"{', '.join(JOINED)}, not {found or 'of an unknown encoding'}"
        )
    if values.get("compression", "none") != "none":
        raise CompositionError(
            f"{by['pagination'].id} and {by['compression'].id} do not fit together: pages that are compressed one "
            "by one cannot be joined without a decompressor, which generated code does not have"
        )


def _place(part: ProtocolDescription) -> int:
    """Where a part comes in the text: by the first facet that it provides."""
    return min((FACETS.index(facet) for facet in part.provides), default=len(FACETS))


def _merged(parts: Sequence[ProtocolDescription], settled: SettledFacets) -> dict[str, Any]:
    """All members but id and version."""
    main = settled.by.get("encoding") or settled.by.get("direction") or parts[-1]
    directed = settled.by.get("direction") or main
    fields: dict[str, Any] = {
        "title": " + ".join(part.title for part in parts)[:100],
        "summary": f"Composed of {', '.join(part.names_version for part in parts)}."[:500],
        "protocol": "+".join(part.name for part in parts)[:200],
        "mode": directed.mode,
        "format": main.format,
        "tiers": {tier: _text(parts, tier, settled) for tier in TIERS if any(tier in p.tiers.named() for p in parts)},
        # An example of something that another description settles otherwise would mislead.
        "examples": _union(part.examples for part in parts if part.assumes.items() <= settled.values.items()),
        "constraints": _union(part.constraints for part in parts),
        "tags": _union(part.tags for part in parts)[:64],
        "schemes": _common(parts, "schemes"),
        "auth": _common(parts, "auth"),
        "parameters": _parameters(parts),
        "provides": settled.values,
        "combines": [part.names_version for part in parts],
        "endpoint": next((part.endpoint for part in (main, *parts) if part.endpoint), ""),
    }
    if method := _method(parts):
        fields["method"] = method
    return {name: value for name, value in fields.items() if value}


def _text(parts: Sequence[ProtocolDescription], tier: Tier, settled: SettledFacets) -> str:
    values = settled.values
    joining = joining_text(values.get("pagination", ""), values.get("encoding", ""), values.get("compression", ""))
    numbered = list(enumerate(parts, 1))
    names = ", ".join(f"{number}. {part.title}" for number, part in numbered)
    sections = [
        f"This transfer combines {len(parts)} descriptions: {names}. They apply together, to every request of one "
        "transfer, and end in one body.",
        *(f"# {number}. {each.title} ({each.names_version})\n\n{each.text_of(tier)}" for number, each in numbered),
        *([f"# How the parts are put together\n\n{joining}"] if joining else []),
    ]
    text = "\n\n".join(sections)
    if len(text.encode()) > MAX_DESCRIPTION_BYTES // 2:
        raise CompositionError(f"The texts of the tier {tier} are too long together; compose fewer descriptions")
    return text


def _union(lists: Iterable[Iterable[str]]) -> list[str]:
    return list(dict.fromkeys(each for members in lists for each in members))


def _common(parts: Sequence[ProtocolDescription], member: str) -> list[str]:
    """What all parts accept that do not accept everything, in the order of the first of them."""
    common: list[str] = []
    last: ProtocolDescription | None = None
    for part in parts:
        accepted: Sequence[str] = getattr(part, member)
        if not accepted:
            continue
        left = list(accepted) if last is None else [each for each in common if each in accepted]
        if last is not None and not left:
            raise CompositionError(f"{last.id} and {part.id} do not fit together: they have no {member} in common")
        common, last = left, part
    return common


def _parameters(parts: Sequence[ProtocolDescription]) -> dict[str, Any]:
    found: dict[str, tuple[ProtocolDescription, Any]] = {}
    for part in parts:
        for name, parameter in part.fields().get("parameters", {}).items():
            other, known = found.setdefault(name, (part, parameter))
            if known != parameter:
                raise CompositionError(
                    f"{other.id} and {part.id} do not fit together: the parameter {name} means something else in each"
                )
    return {name: parameter for name, (_, parameter) in found.items()}


def _method(parts: Sequence[ProtocolDescription]) -> str:
    having = [part for part in parts if part.method]
    for part in having[1:]:
        if part.method != having[0].method:
            raise CompositionError(
                f"{having[0].id} and {part.id} do not fit together: the methods {having[0].method} and {part.method}"
            )
    return having[0].method or "" if having else ""


def _identity(parts: Sequence[ProtocolDescription]) -> str:
    return f"{COMPOSED}/{'-'.join(part.name for part in parts)[:_MOST_NAME].rstrip('-')}"
