"""Write the generated pages, or build the site.

python -m docs_build                write the generated pages of docs/, and the generated tables of docs/sessions.md
python -m docs_build --check        write nothing; exit with 1 and name the pages that are out of date
python -m docs_build --site DIR     build the site: strict, offline, and silent if nothing is wrong
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from docs_build.pages import out_of_date, write

ROOT = Path(__file__).resolve().parents[1]


def build(target: str) -> int:
    """Build the site into `target`; the exit code of MkDocs.

    The theme prints a notice about MkDocs 2 at every build unless the variable is set before it is imported.
    """
    command = [
        sys.executable,
        "-m",
        "mkdocs",
        "build",
        "--strict",
        "--quiet",
        "--site-dir",
        str(Path(target).resolve()),
    ]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode  # noqa: S603 - MkDocs


def main(arguments: list[str]) -> int:
    if arguments[:1] == ["--site"] and len(arguments) == 2:
        return build(arguments[1])
    if arguments == ["--check"]:
        stale = out_of_date()
        print(*stale, sep="\n")
        return 1 if stale else 0
    if arguments:
        print(__doc__, file=sys.stderr)
        return 2
    write()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
