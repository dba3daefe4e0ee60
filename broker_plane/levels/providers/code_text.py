"""The code in a model's answer. Pure."""

from __future__ import annotations

import re

from broker_plane.errors import ProviderError
from broker_plane.levels.ports import MAX_SOURCE_BYTES

_OPENING = re.compile(r" {0,3}(`{3,}|~{3,})[ \t]*([^\s`]*)[^`]*")
_PYTHON = ("python", "python3", "py")


def code_of(answer: str) -> str:
    """The longest fenced block of an answer, of those marked as Python if there are any; the whole answer if it has no
    block. Fences are those of CommonMark 0.31, section 4.5; a block that is not closed ends with the answer.

    Raises:
        ProviderError: there is no code, or too much.
    """
    blocks = _blocks(answer)
    python = [text for language, text in blocks if language.lower() in _PYTHON]
    code = max(python or [text for _, text in blocks] or [answer], key=len)
    if not code.strip():
        raise ProviderError("The provider's answer has no code. Try again, or use another provider")
    if len(code.encode(errors="replace")) > MAX_SOURCE_BYTES:
        raise ProviderError(f"The provider's code has more than {MAX_SOURCE_BYTES} bytes. Try again")
    return code if code.endswith("\n") else f"{code}\n"


def _blocks(answer: str) -> list[tuple[str, str]]:
    """(language, content) of each fenced block."""
    found: list[tuple[str, str]] = []
    fence, language = "", ""
    lines: list[str] = []
    for line in answer.splitlines():
        if not fence:
            if opening := _OPENING.fullmatch(line):
                fence, language, lines = opening[1], opening[2], []
        elif (closing := line.strip()) and set(closing) == {fence[0]} and len(closing) >= len(fence):
            found.append((language, "\n".join(lines)))
            fence = ""
        else:
            lines.append(line)
    return [*found, (language, "\n".join(lines))] if fence else found
