"""Semantic versions (SemVer 2.0.0) and ranges of them. Pure.

A version is ordered by its precedence (section 11 of SemVer), in which build metadata counts for nothing. Ranges are
those of npm: `^1.2`, `~1.2.3`, `1.2`, `>=1.2 <2`, `*`. A pre-release is in a range only if a bound of the range is a
pre-release of the same major, minor and patch version.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Final

from broker_plane.errors import RegistryError

MOST_CHARACTERS: Final = 64

_NUMBER = r"(?:0|[1-9][0-9]*)"
_PRE = rf"(?:{_NUMBER}|[0-9]*[A-Za-z-][0-9A-Za-z-]*)"
_REST = rf"(?:-(?P<pre>{_PRE}(?:\.{_PRE})*))?(?:\+(?P<build>[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*))?"
_VERSION = re.compile(rf"(?P<major>{_NUMBER})\.(?P<minor>{_NUMBER})\.(?P<patch>{_NUMBER}){_REST}\Z")
_PARTIAL = re.compile(rf"(?P<major>{_NUMBER})(?:\.(?P<minor>{_NUMBER})(?:\.(?P<patch>{_NUMBER}){_REST})?)?\Z")
_COMPARATOR = re.compile(r"\s*(\^|~|>=|<=|>|<|=)?\s*(\S+)")

Precedence = tuple[int, int, int, bool, tuple[tuple[bool, int, str], ...]]


@dataclass(frozen=True, slots=True)
class SemanticVersion:
    """A version. Equality is that of the text; compare `precedence` for the order."""

    major: int
    minor: int
    patch: int
    pre: tuple[str, ...] = ()
    build: tuple[str, ...] = ()

    def __str__(self) -> str:
        text = f"{self.major}.{self.minor}.{self.patch}"
        text += f"-{'.'.join(self.pre)}" if self.pre else ""
        return text + (f"+{'.'.join(self.build)}" if self.build else "")

    @property
    def precedence(self) -> Precedence:
        """A value that orders versions: numbers below words, a pre-release below its release."""
        pre = tuple((False, int(each), "") if each.isdigit() else (True, 0, each) for each in self.pre)
        return self.major, self.minor, self.patch, not self.pre, pre


def parse_version(text: str) -> SemanticVersion:
    """The version of a text.

    Raises:
        RegistryError: it is not a version of SemVer 2.0.0, or has more than MOST_CHARACTERS characters.
    """
    found = _VERSION.match(text) if len(text) <= MOST_CHARACTERS else None
    if found is None:
        raise RegistryError(f"{text[:80]!r} is not a semantic version, such as 1.4.0 or 2.0.0-rc.1")
    return _of(found)


def is_version(text: str) -> bool:
    """Whether `text` is a whole version, and not a range."""
    return len(text) <= MOST_CHARACTERS and _VERSION.match(text) is not None


@dataclass(frozen=True, slots=True)
class VersionRange:
    """Bounds, all of which a version of the range satisfies: an operator of comparison, and a version."""

    bounds: tuple[tuple[str, SemanticVersion], ...]

    def __contains__(self, version: SemanticVersion) -> bool:
        if version.pre and not any(bound.pre and _core(bound) == _core(version) for _, bound in self.bounds):
            return False
        return all(_COMPARE[sign](version.precedence, bound.precedence) for sign, bound in self.bounds)


def parse_range(text: str) -> VersionRange:
    """The range of a text; an empty one and `*` contain every version but pre-releases.

    Raises:
        RegistryError: it is not a range.
    """
    bounds: list[tuple[str, SemanticVersion]] = []
    if len(text) > 4 * MOST_CHARACTERS:
        raise RegistryError("The range of versions is too long")
    for sign, rest in _COMPARATOR.findall("" if text.strip() == "*" else text):
        found = _PARTIAL.match(rest)
        if found is None:
            raise RegistryError(f"{text[:80]!r} is not a version or a range, such as 1.4.0, ^1.2, ~1.2.3 or '>=1.2 <2'")
        bounds += _bounds(sign, found)
    return VersionRange(tuple(bounds))


def newest(versions: Iterable[SemanticVersion]) -> SemanticVersion | None:
    """The version of highest precedence, a release if there is one; None if there is no version."""
    return max(versions, key=lambda version: (not version.pre, version.precedence), default=None)


def _bounds(sign: str, found: re.Match[str]) -> list[tuple[str, SemanticVersion]]:
    bound = _of(found)
    exact = found["patch"] is not None
    match sign:
        case "^":
            return [(">=", bound), ("<", _before(_after_caret(bound, found)))]
        case "~":
            return [(">=", bound), ("<", _before(_after(bound, found)))]
        case "" | "=" if exact:
            return [("=", bound)]
        case "" | "=":  # 1.2 is every 1.2.x
            return [(">=", bound), ("<", _before(_after(bound, found)))]
        case ">" if not exact:
            return [(">=", _after(bound, found))]
        case "<=" if not exact:
            return [("<", _before(_after(bound, found)))]
    return [(sign, bound)]


def _after(bound: SemanticVersion, found: re.Match[str]) -> SemanticVersion:
    """The first version after all those that begin with the numbers in `found`, at most two of them."""
    if found["minor"] is None:
        return SemanticVersion(bound.major + 1, 0, 0)
    return SemanticVersion(bound.major, bound.minor + 1, 0)


def _after_caret(bound: SemanticVersion, found: re.Match[str]) -> SemanticVersion:
    """The first version that may break what `bound` promises: the leftmost number that is not 0 changes."""
    if bound.major or found["minor"] is None:
        return SemanticVersion(bound.major + 1, 0, 0)
    if bound.minor or found["patch"] is None:
        return SemanticVersion(0, bound.minor + 1, 0)
    return SemanticVersion(0, 0, bound.patch + 1)


def _before(version: SemanticVersion) -> SemanticVersion:
    """The lowest pre-release, so that none of its own is below the bound."""
    return SemanticVersion(version.major, version.minor, version.patch, ("0",))


def _core(version: SemanticVersion) -> tuple[int, int, int]:
    return version.major, version.minor, version.patch


def _of(found: re.Match[str]) -> SemanticVersion:
    """The version of a match; numbers that are missing are 0."""
    pre, build = found["pre"], found["build"]
    return SemanticVersion(
        int(found["major"]),
        int(found["minor"] or 0),
        int(found["patch"] or 0),
        tuple(pre.split(".")) if pre else (),
        tuple(build.split(".")) if build else (),
    )


_COMPARE: Final[dict[str, Callable[[Precedence, Precedence], bool]]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
    "=": operator.eq,
}
