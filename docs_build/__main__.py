"""Write the generated reference pages: python -m docs_build [--check]

`--check` writes nothing, and exits with 1 if a page is out of date.
"""

from __future__ import annotations

import sys

from docs_build.pages import out_of_date, write

if __name__ == "__main__":
    if "--check" in sys.argv[1:]:
        stale = out_of_date()
        print(*stale, sep="\n")
        sys.exit(1 if stale else 0)
    write()
