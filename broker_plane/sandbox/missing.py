"""Tells an error of the code from something that the interpreter lacks and that Python has."""

from __future__ import annotations

import builtins
import codecs
import re
import sys
from typing import Final

_NO_ATTRIBUTE = re.compile(r"(?:'(\w+)' object|type object '(\w+)') has no attribute '(\w+)'")
_NO_MODULE_ATTRIBUTE = re.compile(r"module '(\w+)[\w.]*' has no attribute|cannot import name '\w+' from '(\w+)")
_NO_MODULE = re.compile(r"No module named '(\w+)")
_NO_NAME = re.compile(r"name '(\w+)' is not defined")
_INTERNAL: Final = ("Internal error in monty", "is not supported in this environment")
_NO_CONVERSION: Final = ("cannot convert 'list' object to bytes", "first argument must be string or compiled pattern")


def is_missing(kind: str, message: str) -> bool:
    """Whether an error of the interpreter, by its type and message, means that it lacks what the code uses."""
    if kind == "NotImplementedError":
        return True
    if kind == "RuntimeError":
        return message.startswith(_INTERNAL[0]) or message.endswith(_INTERNAL[1])
    if kind == "TypeError":
        return message.startswith(_NO_CONVERSION)
    if kind == "LookupError":
        return _lacks_encoding(message)
    if kind in ("ImportError", "ModuleNotFoundError", "AttributeError"):
        return _lacks_module(message) or _lacks_attribute(message)
    if kind == "NameError":
        found = _NO_NAME.search(message)
        return found is not None and hasattr(builtins, found[1])
    return False


def _lacks_encoding(message: str) -> bool:
    name = message.removeprefix("unknown encoding: ")
    try:
        return name != message and codecs.lookup(name) is not None
    except (LookupError, ValueError):
        return False


def _lacks_module(message: str) -> bool:
    found = _NO_MODULE.search(message) or _NO_MODULE_ATTRIBUTE.search(message)
    return found is not None and found[found.lastindex or 1] in sys.stdlib_module_names


def _lacks_attribute(message: str) -> bool:
    found = _NO_ATTRIBUTE.search(message)
    if found is None:
        return False
    kind = getattr(builtins, found[1] or found[2], None)
    return isinstance(kind, type) and hasattr(kind, found[3])
