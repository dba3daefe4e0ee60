"""Finds descriptions by the words that a stranger uses, and by filters. Pure.

Words are compared by their beginnings (`paginated` finds `pagination`), weighted by where they are found and by how few
descriptions have them (BM25). A description that has only some of the words is found, and ranked lower.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from broker_plane.errors import RegistryError
from broker_plane.registry.description import TIERS, ProtocolDescription

MOST_WORDS: Final = 32
"""Words of a query that count."""

_WORDS = re.compile(r"[^\W_]+")
_LEAST_STEM = 4
_ENDINGS = "ations ation ating ated ates ate ions ion ing ies ers ed er es s e y".split()  # noqa: SIM905
_WEIGHTS: Final[Mapping[str, float]] = {"name": 6.0, "tags": 4.0, "facts": 3.0, "summary": 2.5, "text": 1.0}
_SATURATION = 1.2
_BEGINNING = 0.6
"""What a word counts that only begins like the one in the query, or the other way round."""

_STOP = frozenset(
    """
    a an and any are as at be by can do for from get has have how i in into is it me my need of on or over so that the
    their them then this to use using want way we what which who with you your
    """.split()  # noqa: SIM905  # one a line is longer than the rest of the module
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolSearch:
    """What is looked for. An empty filter fits everything; `format` may be a part, such as `json`."""

    text: str = ""
    tier: str = ""
    format: str = ""
    auth: str = ""
    protocol: str = ""
    mode: str = ""
    owner: str = ""
    tag: str = ""

    def __post_init__(self) -> None:
        if self.tier and self.tier not in TIERS:
            raise RegistryError(f"A tier is one of {', '.join(TIERS)}, not {self.tier[:40]!r}")

    def fits(self, description: ProtocolDescription) -> bool:
        """Whether a description passes the filters."""
        return (
            (not self.tier or self.tier in description.tiers.named())
            and (not self.format or _format_fits(self.format.lower(), description.format.lower()))
            and (not self.auth or not description.auth or self.auth in description.auth)
            and (not self.protocol or self.protocol.lower() in _protocols(description))
            and (not self.mode or self.mode == description.mode)
            and (not self.owner or self.owner == description.owner)
            and (not self.tag or self.tag.lower() in description.tags)
        )


@dataclass(frozen=True, slots=True)
class ScoredDescription:
    """A description, and how well it fits the words: above 0, and 0 if there were no words."""

    description: ProtocolDescription
    score: float


def search(descriptions: Iterable[ProtocolDescription], wanted: ProtocolSearch) -> list[ScoredDescription]:
    """The descriptions that pass the filters and have a word of the text, best first; without a text, by id."""
    fitting = sorted((each for each in descriptions if wanted.fits(each)), key=lambda each: each.id)
    words = list(dict.fromkeys(word for word in _words(wanted.text) if word not in _STOP))[:MOST_WORDS]
    if not wanted.text.strip():
        return [ScoredDescription(each, 0.0) for each in fitting]
    pages = [_page(each) for each in fitting]
    scores = [0.0] * len(fitting)
    for word in words or _words(wanted.text)[:MOST_WORDS]:
        found = [_strength(word, page) for page in pages]
        having = sum(strength > 0 for strength in found)
        rarity = math.log(1 + (len(pages) - having + 0.5) / (having + 0.5))
        for place, strength in enumerate(found):
            scores[place] += rarity * strength / (strength + _SATURATION)
    ranked = [
        ScoredDescription(each, round(score, 3)) for each, score in zip(fitting, scores, strict=True) if score > 0
    ]
    return sorted(ranked, key=lambda each: -each.score)


def _page(description: ProtocolDescription) -> dict[str, Counter[str]]:
    """The words of a description by the field that they are in, each with how often."""
    facts = (description.format, description.word, description.mode, *description.schemes, *description.auth)
    texts = (*description.tiers.named().values(), *description.constraints, *description.examples)
    fields: Mapping[str, Sequence[str]] = {
        "name": (description.id, description.title),
        "tags": description.tags,
        "facts": (*facts, *description.provides.values()),
        "summary": (description.summary,),
        "text": texts,
    }
    return {name: Counter(word for text in members for word in _words(text)) for name, members in fields.items()}


def _strength(word: str, page: Mapping[str, Counter[str]]) -> float:
    """How much a description says of a word: 0 if nothing."""
    best = 0.0
    stem = _stem(word)
    for name, words in page.items():
        exact = words[word]
        near = 0 if exact else sum(count for each, count in words.items() if _alike(stem, word, each))
        amount = math.log1p(exact) + _BEGINNING * math.log1p(near)
        best += _WEIGHTS[name] * amount
    return best


def _alike(stem: str, word: str, other: str) -> bool:
    """Whether two words have a stem in common, or one of them, in a script without spaces, contains the other."""
    if not word.isascii():
        return word in other
    return len(stem) >= _LEAST_STEM and _stem(other) == stem


def _words(text: str) -> list[str]:
    return _WORDS.findall(text.casefold())


def _stem(word: str) -> str:
    """The word without its ending, if enough of it is left."""
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= _LEAST_STEM:
            return word[: -len(ending)]
    return word


def _format_fits(wanted: str, found: str) -> bool:
    """`json` fits application/json and application/problem+json; a media type fits itself, without parameters."""
    found = found.partition(";")[0].strip()
    subtype = found.partition("/")[2]
    return wanted in (found, subtype) or wanted in re.split(r"[.+-]", subtype)


def _protocols(description: ProtocolDescription) -> set[str]:
    """The words by which people name the protocol: its own, its transport, the schemes of its endpoints."""
    return {description.word, description.name, description.provides.get("transport", ""), *description.schemes}
