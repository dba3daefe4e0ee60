"""Reads the built-in descriptions. In a file the tier `mid` goes on where `high` ends, and `full` where `mid` ends."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Any

from broker_plane.registry.description import BUILTIN, TIERS

VERSION = "1.0.0"
"""The version of a built-in description whose file names no other."""


@cache
def builtin_fields() -> Mapping[str, Mapping[str, Any]]:
    """The JSON objects of the built-in descriptions, by id, sorted."""
    found = {}
    for file in sorted(files(__package__).iterdir(), key=lambda each: each.name):
        name, dot, suffix = file.name.rpartition(".")
        if dot and suffix == "toml":
            found[f"{BUILTIN}/{name}"] = MappingProxyType(_fields(name, tomllib.loads(file.read_text("utf-8"))))
    return MappingProxyType(found)


def _fields(name: str, read: dict[str, Any]) -> dict[str, Any]:
    texts, tiers = read.pop("tiers"), {}
    for number, tier in enumerate(TIERS):
        if tier in texts:
            tiers[tier] = "\n\n".join(texts[each].strip() for each in TIERS[: number + 1] if each in texts)
    return {"id": f"{BUILTIN}/{name}", "version": VERSION, **read, "tiers": tiers}
