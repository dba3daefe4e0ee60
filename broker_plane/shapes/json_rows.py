"""Tables in parsed JSON that are lists: of objects, of GeoJSON features, of scalars. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from broker_plane.shapes.bounds import MAX_ROWS, fits
from broker_plane.shapes.table import Found, Row, free
from broker_plane.wire.bounds import MAX_COLUMNS
from broker_plane.wire.nesting import MAX_DEPTH, levels

VALUE = "value"
"""The column of a list of scalars."""

SCALARS = frozenset({str, int, float, bool, type(None)})


def rows(value: Any) -> Found | None:
    """A list of objects."""
    if not _is_list_of(value, {dict}) or (names := column_names(value)) is None:
        return None
    return Found("rows", names, value) if is_shallow(value) else None


def scalars(value: Any) -> Found | None:
    """A list of texts, numbers and booleans, as the one column `value`."""
    if not isinstance(value, list) or not 0 < len(value) <= MAX_ROWS:
        return None
    kinds = set(map(type, value))
    if not kinds <= SCALARS or kinds == {type(None)}:
        return None
    return Found("scalars", [VALUE], [{VALUE: each} for each in value])


def features(value: Any) -> Found | None:
    """A FeatureCollection (RFC 7946), or a list of its features."""
    beside: dict[str, Any] = {}
    if isinstance(value, dict) and value.get("type") == "FeatureCollection":
        beside = {name: member for name, member in value.items() if name not in ("type", "features")}
        value = value.get("features")
    if not _is_list_of(value, {dict}) or not all(map(_is_feature, value)):
        return None
    taken = {name for each in value for name in each["properties"] or ()}
    members = dict.fromkeys(name for each in value for name in each if name not in ("type", "properties"))
    names: dict[str, str] = {}
    for name in members:
        names[name] = free(name, taken)
        taken.add(names[name])
    flat = [_flat(each, names) for each in value]
    columns = column_names(flat)
    return Found("geojson", columns, flat, fields=beside) if columns and is_shallow(flat) else None


def column_names(found: Iterable[Mapping[str, Any]]) -> list[str] | None:
    """The columns in the order of their first appearance; None if there are none or too many."""
    seen: dict[str, None] = {}
    for row in found:
        if row.keys() != seen.keys():
            seen.update(dict.fromkeys(row))
            if len(seen) > MAX_COLUMNS:
                return None
    names = list(seen)
    return names if names and fits(names) else None


def is_shallow(found: list[Row]) -> bool:
    """Whether no value is nested more deeply than a body may hold."""
    depth = 0
    for _, kinds in levels([value for row in found for value in row.values()]):
        depth += not kinds.isdisjoint({dict, list})
        if depth > MAX_DEPTH:
            return False
    return True


def _is_list_of(value: Any, kinds: set[type]) -> bool:
    return isinstance(value, list) and 0 < len(value) <= MAX_ROWS and set(map(type, value)) == kinds


def _is_feature(value: Mapping[str, Any]) -> bool:
    return (
        value.get("type") == "Feature"
        and "geometry" in value
        and isinstance(value.get("geometry"), dict | None)
        and isinstance(value.get("properties", 0), dict | None)
    )


def _flat(feature: Mapping[str, Any], names: Mapping[str, str]) -> Row:
    """The properties of a feature beside its other members."""
    found: Row = {names["id"]: feature["id"]} if "id" in feature else {}
    found |= feature["properties"] or {}
    for name, member in feature.items():
        if name not in ("type", "id", "properties", "geometry"):
            found[names[name]] = member
    found[names["geometry"]] = feature["geometry"]
    return found
