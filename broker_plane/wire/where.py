"""The language of `where`: comparisons of a column with literals, `and`, `or`, `not`. Text in, a typed tree out. Pure.

    expression  = conjunction ("or" conjunction)*
    conjunction = negation ("and" negation)*
    negation    = "not" negation | "(" expression ")" | test
    test        = column ("=" | "!=" | "<" | "<=" | ">" | ">=") literal
                | column ["not"] "in" "(" literal ("," literal)* ")"
                | column "is" ["not"] "null"
    literal     = number | 'text' | true | false
    column      = bare name | "quoted name"

Words are taken in any case; a quote inside quotes is doubled. tabular/where.py evaluates it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal, NoReturn, TypeVar

from broker_plane.errors import SelectorError

MAX_CHARACTERS = 512
MAX_NODES = 64
MAX_DEPTH = 16
T = TypeVar("T")
Value = bool | int | Decimal | str
Operator = Literal["=", "!=", "<", "<=", ">", ">="]


@dataclass(frozen=True, slots=True)
class Compare:
    column: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class In:
    column: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull:
    column: str


@dataclass(frozen=True, slots=True)
class Not:
    inner: Expression


@dataclass(frozen=True, slots=True)
class And:
    parts: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Or:
    parts: tuple[Expression, ...]


Expression = Compare | In | IsNull | Not | And | Or
_TOKEN = re.compile(
    r"""\s*(?:(?P<number>-?(?:\d{1,40}(?:\.\d{1,40})?|\.\d{1,40})(?:[eE][+-]?\d{1,3})?(?![\w.]))"""
    r"""|'(?P<text>(?:[^']|'')*)'|"(?P<quoted>(?:[^"]|"")+)"|(?P<word>[^\W\d]\w*)|(?P<mark><=|>=|!=|[=<>(),]))"""
)
_WORDS = frozenset({"and", "or", "not", "in", "is", "null", "true", "false"})
_OPERATORS: dict[str, Operator] = {"=": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}


@lru_cache(maxsize=256)
def parse_where(text: str) -> Expression:
    """The tree of `text`.

    Raises:
        SelectorError: names the character and what was expected there, or the limit that was exceeded.
    """
    if len(text) > MAX_CHARACTERS:
        raise SelectorError(f"where has {len(text)} characters; the most is {MAX_CHARACTERS}")
    parser = _Parser(text)
    tree = parser.expression(1)
    parser.end()
    return tree


def columns_of(tree: Expression) -> frozenset[str]:
    """Every column that `tree` names."""
    if isinstance(tree, (And, Or)):
        return frozenset().union(*map(columns_of, tree.parts))
    return columns_of(tree.inner) if isinstance(tree, Not) else frozenset({tree.column})


def literals_of(tree: Expression) -> list[tuple[str, Value]]:
    """Every column that `tree` compares, with each literal that it is compared with."""
    match tree:
        case And(parts) | Or(parts):
            return [pair for part in parts for pair in literals_of(part)]
        case Not(inner):
            return literals_of(inner)
        case Compare(column, _, value):
            return [(column, value)]
        case In(column, values):
            return [(column, value) for value in values]
        case IsNull():
            return []


def shown_value(value: Value) -> str:
    """A literal as written in `where`, shortened if it is long."""
    if isinstance(value, bool):
        return str(value).lower()
    text = value if isinstance(value, str) else str(value)
    text = text if len(text) <= 40 else text[:40] + "…"
    return "'" + text.replace("'", "''") + "'" if isinstance(value, str) else text


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int
    """Its first character, counted from 1."""

    def says(self, *words: str) -> bool:
        return self.kind in ("word", "mark") and self.text.lower() in words


class _Parser:
    """A recursive-descent parser with one token of lookahead."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._place = 0
        self._nodes = 0
        self._next = self._read()

    def expression(self, depth: int) -> Expression:
        parts = [self._conjunction(depth)]
        while self._take("or"):
            parts.append(self._conjunction(depth))
        return parts[0] if len(parts) == 1 else Or(self._node(tuple(parts)))

    def end(self) -> None:
        if self._next.kind != "end":
            self._fail("and, or, or the end")

    def _conjunction(self, depth: int) -> Expression:
        parts = [self._negation(depth)]
        while self._take("and"):
            parts.append(self._negation(depth))
        return parts[0] if len(parts) == 1 else And(self._node(tuple(parts)))

    def _negation(self, depth: int) -> Expression:
        if depth > MAX_DEPTH:
            raise SelectorError(f"where is nested deeper than {MAX_DEPTH} at character {self._next.at}")
        if self._take("not"):
            return Not(self._node(self._negation(depth + 1)))
        if self._take("("):
            inner = self.expression(depth + 1)
            self._must(")")
            return inner
        return self._test()

    def _test(self) -> Expression:
        column = self._node(self._column())
        if operator := self._operator():
            return Compare(column, operator, self._literal())
        if self._take("is"):
            negated = self._take("not")
            self._must("null")
            return Not(self._node(IsNull(column))) if negated else IsNull(column)
        negated = self._take("not")
        if not self._take("in"):
            self._fail("in" if negated else "= != < <= > >=, in or is")
        self._must("(")
        values = [self._node(self._literal())]
        while self._take(","):
            values.append(self._node(self._literal()))
        self._must(")")
        found = In(column, tuple(values))
        return Not(self._node(found)) if negated else found

    def _column(self) -> str:
        token = self._next
        if token.kind == "quoted":
            self._step()
            return token.text.replace('""', '"')
        if token.kind != "word" or token.text.lower() in _WORDS:
            self._fail('a column (in "double quotes" where it is no plain name), not or (')
        self._step()
        return token.text

    def _operator(self) -> Operator | None:
        operator = _OPERATORS.get(self._next.text) if self._next.kind == "mark" else None
        if operator:
            self._step()
        return operator

    def _literal(self) -> Value:
        token = self._next
        if token.says("null"):
            self._fail("a value; for null write: is null")
        if token.kind not in ("number", "text") and not token.says("true", "false"):
            self._fail("a number, a 'text', true or false")
        self._step()
        if token.kind == "text":
            return token.text.replace("''", "'")
        if token.kind == "word":
            return token.text.lower() == "true"
        plain = token.text.lstrip("-").isdigit()
        return int(token.text) if plain else Decimal(token.text)

    def _take(self, word: str) -> bool:
        taken = self._next.says(word)
        if taken:
            self._step()
        return taken

    def _must(self, word: str) -> None:
        if not self._take(word):
            self._fail(word)

    def _node(self, made: T) -> T:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise SelectorError(f"where has more than {MAX_NODES} tests, values of `in`, and words between them")
        return made

    def _step(self) -> None:
        self._next = self._read()

    def _read(self) -> _Token:
        found = _TOKEN.match(self._text, self._place)
        if found and found.lastgroup:
            self._place = found.end()
            return _Token(found.lastgroup, found[found.lastgroup], found.start() + _blank(found[0]) + 1)
        at = self._place + _blank(self._text[self._place :])
        rest = self._text[at:]
        return _Token("other" if rest else "end", rest, at + 1)

    def _fail(self, expected: str) -> NoReturn:
        token = self._next
        found = repr(token.text[:40]) if token.kind != "end" else "its end"
        raise SelectorError(f"where, at character {token.at}: expected {expected}, found {found}")


def _blank(text: str) -> int:
    return len(text) - len(text.lstrip())
