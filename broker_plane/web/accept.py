"""Content negotiation (RFC 9110, section 12.5): the media type and content coding that a client prefers. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import lru_cache

from broker_plane.errors import NotAcceptableError

_WEIGHT = re.compile(r"(?:0(?:\.\d{0,3})?|1(?:\.0{0,3})?)", re.ASCII)
_ALIASES = {"x-gzip": "gzip"}
_NONE: Mapping[str, float] = {}


_CACHED, _CACHED_CHARACTERS = 256, 256
"""Headers that are parsed once, and the longest of them: clients repeat theirs."""


def choose_type(header: str | None, offered: Sequence[str]) -> str:
    """The offered media type with the highest weight; the first one offered wins a tie, and without a header.

    Parameters of a media range (`charset=utf-8`) are not compared: no two of our offers differ only in them.

    Raises:
        NotAcceptableError: every offer has weight 0.
    """
    ranges = _weights(header)
    if not ranges:
        return offered[0]
    best = max(offered, key=lambda offer: _type_weight(_essence(offer), ranges))
    if not _type_weight(_essence(best), ranges) > 0:
        raise NotAcceptableError(f"This body is available as {', '.join(offered)}")
    return best


def choose_coding(header: str | None, offered: Sequence[str]) -> str:
    """The content coding to use: one of `offered`, or `identity` if it is preferred or there is no header.

    Raises:
        NotAcceptableError: the client accepts neither `identity` nor any of the others.
    """
    weights = {_ALIASES.get(name, name): weight for name, weight in _weights(header).items()}
    best = max(offered, key=lambda name: weights.get(name, weights.get("*", 0.0)), default="identity")
    weight = weights.get(best, weights.get("*", 0.0))
    if weight > 0 and not weights.get("identity", 0.0) > weight:
        return best
    if not weights.get("identity", weights.get("*", 1.0)) > 0:
        raise NotAcceptableError(f"This body is available in the codings {', '.join((*offered, 'identity'))}")
    return "identity"


def takes_identity(header: str | None) -> bool:
    """Whether the client accepts a body without a coding; by default it does (section 12.5.3)."""
    weights = _weights(header)
    return weights.get("identity", weights.get("*", 1.0)) > 0


def _weights(header: str | None) -> Mapping[str, float]:
    """Name → weight of each list element; elements with an invalid weight are left out."""
    if header is None:
        return _NONE
    return _known_weights(header) if len(header) <= _CACHED_CHARACTERS else _parsed(header)


def _parsed(header: str) -> Mapping[str, float]:
    weights: dict[str, float] = {}
    for element in header.split(","):
        name, *parameters = (part.strip(" \t") for part in element.lower().split(";"))
        weight = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        if name and _WEIGHT.fullmatch(weight):
            weights[name] = max(float(weight), weights.get(name, 0.0))
    return weights


_known_weights = lru_cache(_CACHED)(_parsed)


def _type_weight(offer: str, ranges: Mapping[str, float]) -> float:
    """The weight of the most specific range that covers the offer."""
    for name in (offer, offer.partition("/")[0] + "/*", "*/*"):
        if name in ranges:
            return ranges[name]
    return 0.0


def _essence(media_type: str) -> str:
    return media_type.partition(";")[0].strip().lower()
