"""Prints, as JSON, the files of the Python that runs this: `python -I -S -B runtime_probe.py`. Standard library only.

The dynamic linker knows which libraries Python and the modules below have loaded, and by which paths it found them.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import sys
import sysconfig
from contextlib import suppress
from typing import Any

MODULES = (
    *("json", "re", "hashlib", "hmac", "base64", "binascii", "csv", "struct", "datetime", "time", "calendar", "math"),
    *("decimal", "fractions", "statistics", "random", "uuid", "zlib", "gzip", "bz2", "lzma", "zipfile", "io", "string"),
    *("textwrap", "html", "xml.etree.ElementTree", "urllib.parse", "email", "itertools", "functools", "collections"),
    *("dataclasses", "enum", "typing", "operator", "contextlib", "heapq", "bisect", "copy", "traceback", "linecache"),
    *("resource", "unicodedata", "array"),
)
"""What code may reasonably import. Another module that needs a library of the system is likely not to find it."""


def main() -> None:
    """Import everything, and print what that took."""
    for name in MODULES:
        with suppress(ImportError):
            importlib.import_module(name)
    paths = sysconfig.get_paths(vars={"base": sys.base_prefix, "platbase": sys.base_exec_prefix})
    folders = sorted({os.path.realpath(paths[name]) for name in ("stdlib", "platstdlib")})
    print(json.dumps({"folders": folders, "libraries": [path for path in libraries() if "/libffi" not in path]}))


def libraries() -> list[str]:
    """The paths of the shared libraries of this process, as the linker found them, with itself."""
    found: list[str] = []

    class Information(ctypes.Structure):
        _fields_ = (("address", ctypes.c_void_p), ("name", ctypes.c_char_p))

    def note(information: Any, *_: Any) -> int:
        name = os.fsdecode(information.contents.name or b"")
        if name.startswith("/"):
            found.append(name)
        return 0

    kind = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Information), ctypes.c_size_t, ctypes.c_void_p)
    ctypes.CDLL(None).dl_iterate_phdr(kind(note), None)
    return found


if __name__ == "__main__":
    main()
