"""The scripted provider of `levels`: a command that answers with code which was written beforehand, as a model would.

`python -m demos.levels_scripted DIRECTORY` reads a prompt from standard input and prints the next answer for its
protocol. It notes each call in DIRECTORY, so that all processes that use the directory share one count.
"""

from __future__ import annotations

import fcntl
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

NAMES = ("x-signed-pages", "x-framed-tcp", "x-ticker-events")
ANSWERS = Path(__file__).parent / "levels_answers"
"""For each protocol one file for each call, in order. `x-framed-tcp-1` fails its check of the CRC, and
`x-ticker-events-1` emits wrong bytes; the last of each protocol is for version 2 of its API."""
_CALLS = "calls.jsonl"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of the provider. Sizes are in bytes of UTF-8."""

    protocol: str
    answer: str
    """The file that was the answer."""
    prompt_bytes: int
    answer_bytes: int


def calls_in(directory: Path) -> list[Call]:
    """The calls so far, oldest first."""
    path = directory / _CALLS
    return [Call(**json.loads(line)) for line in path.read_text().splitlines()] if path.exists() else []


def answer(prompt: str, directory: Path) -> str:
    """The next answer for the prompt's protocol; the call is noted.

    Raises:
        LookupError: the prompt names none of the protocols, or all answers for its protocol were given.
    """
    protocol = next((name for name in NAMES if name in prompt), None)
    if protocol is None:
        raise LookupError(f"This provider is scripted, and the prompt is about none of {', '.join(NAMES)}")
    with (directory / _CALLS).open("a+", encoding="utf-8") as calls:
        fcntl.flock(calls, fcntl.LOCK_EX)
        number = 1 + sum(call.protocol == protocol for call in calls_in(directory))
        path = ANSWERS / f"{protocol}-{number}.txt"
        if not path.is_file():
            raise LookupError(f"This provider is scripted, and has no answer {number} for {protocol}")
        text = path.read_text(encoding="utf-8")
        call = Call(protocol, path.stem, len(prompt.encode()), len(text.encode()))
        calls.write(json.dumps(asdict(call)) + "\n")
        (directory / f"prompt-{path.stem}.txt").write_text(prompt, encoding="utf-8")
    return text


def main(argv: Sequence[str] | None = None) -> int:
    arguments = sys.argv[1:] if argv is None else argv
    if len(arguments) != 1 or not Path(arguments[0]).is_dir():
        print("Usage: python -m demos.levels_scripted DIRECTORY < PROMPT", file=sys.stderr)
        return 2
    try:
        sys.stdout.write(answer(sys.stdin.read(), Path(arguments[0])))
    except LookupError as error:
        print(error.args[0], file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
