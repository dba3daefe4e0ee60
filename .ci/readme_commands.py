"""Print the commands that README.md tells a newcomer to run: python .ci/readme_commands.py NUMBER [README.md]

So README and CI cannot drift apart: what is printed stands in the README, and CI runs what is printed.
"""

from __future__ import annotations

import re
import sys
from pathlib import Path

HEADING = "## Try it"
COUNT = 2
_SECTION = re.compile(rf"^{re.escape(HEADING)}\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
_BLOCK = re.compile(r"^```sh\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def commands_of(readme: str) -> list[str]:
    """The first two `sh` blocks under the heading, to the letter.

    Raises:
        ValueError: the README has not that heading, or not two such blocks under it.
    """
    section = _SECTION.search(readme)
    if section is None:
        raise ValueError(f"README.md has no heading {HEADING!r}")
    blocks: list[str] = _BLOCK.findall(section[1])[:COUNT]
    if len(blocks) < COUNT:
        raise ValueError(f"README.md has {len(blocks)} blocks of sh under {HEADING!r}, and CI runs {COUNT}")
    return blocks


if __name__ == "__main__":
    number, readme = int(sys.argv[1]), Path(sys.argv[2] if len(sys.argv) > 2 else "README.md")
    sys.stdout.write(commands_of(readme.read_text(encoding="utf-8"))[number - 1])
