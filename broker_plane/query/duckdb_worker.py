"""The process beside a bridge in which queries run. Started by path, with an empty environment:

    python -I -P duckdb_worker.py <directory of the package> <pid of the bridge> <limits as JSON>

It imports everything once and then forks a child for each query, ready before the query comes. The child reads the
query and its tables from standard input, writes the result to standard output, and ends: no query finds anything of
the one before. The process itself has one thread, never runs a query and holds no data.
"""

from __future__ import annotations

import gc
import json
import os
import sys

NO_ENGINE = 71
"""The exit code if DuckDB or pyarrow cannot be imported; `serving.py` has the others."""


def main(root: str, parent: str, limits: str) -> int:
    """Serve the queries of the process `parent` until it closes the pipe."""
    # Libraries that would start threads, which a fork does not copy.
    os.environ.update({"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1", "ARROW_DEFAULT_MEMORY_POOL": "system"})
    place = next((number for number, path in enumerate(sys.path) if path.endswith("-packages")), len(sys.path))
    sys.path.insert(place, root)
    try:
        from broker_plane.query import serving
    except ImportError:
        return NO_ENGINE
    gc.collect()
    gc.freeze()  # a child that collects would copy every page
    return serving.serve(int(parent), json.loads(limits))


if __name__ == "__main__":
    os._exit(main(*sys.argv[1:]))
