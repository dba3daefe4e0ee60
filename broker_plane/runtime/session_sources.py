"""The artifact of a new session: a value, a file, or a body."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import anyio.to_thread

from broker_plane.errors import WireError
from broker_plane.files.media_types import guess_media_type
from broker_plane.formats.kinds import Format, kind_in
from broker_plane.formats.opening import read_file
from broker_plane.formats.table_files import RowsFile
from broker_plane.runtime.pulls import Pull, PulledBody, PullRouter
from broker_plane.sessions.replicas.port import ArtifactKind
from broker_plane.tabular.json_values import json_value
from broker_plane.wire.exact_json import MALFORMED, loads

KINDS: tuple[ArtifactKind, ...] = ("text", "json", "table")
EMPTY: dict[ArtifactKind, Any] = {"text": "", "json": {}, "table": []}
"""The artifact of a session that is created without one."""

_JSON_TYPES = ("application/json", "text/json")


def of_value(value: Any, kind: ArtifactKind | None) -> tuple[ArtifactKind, Any]:
    """The kind and the value: a str is a text, a list of objects a table, anything else JSON, unless `kind` says so.

    Raises:
        WireError: the value is not one of this kind.
    """
    if value is None:
        return kind or "text", EMPTY[kind or "text"]
    if kind is None:
        kind = "text" if isinstance(value, str) else "table" if _is_rows(value) else "json"
    if kind == "text":
        if not isinstance(value, str):
            raise WireError("The artifact of a session of kind text must be a str")
        return kind, value
    plain = json_value(value)
    if kind == "table" and not (_is_rows(plain) or plain == []):
        raise WireError("The artifact of a session of kind table must be a list of objects")
    return kind, plain


async def of_file(path: Path, kind: ArtifactKind | None) -> tuple[ArtifactKind, Any]:
    """The artifact in a file: a table for formats of tables, JSON for .json, else a text in UTF-8.

    Raises:
        TabularError, WireError: it is not of its kind. OSError: it cannot be read.
    """
    return await anyio.to_thread.run_sync(_of_file, path, kind)


async def of_body(pulls: PullRouter, address: str, kind: ArtifactKind | None) -> tuple[ArtifactKind, Any]:
    """The artifact in a body: a table for rows, else as its media type says. It costs one use of the grant.

    Raises:
        WireError: it is not of this kind. Else as `Plane.pull`.
    """

    def read(pulled: PulledBody) -> tuple[ArtifactKind, Any]:
        if pulled.data is None or kind == "table":
            return of_value(pulled.rows, kind or "table")
        return of_value(*_of_bytes(pulled.data, pulled.media_type, kind))

    return cast("tuple[ArtifactKind, Any]", await pulls.rows_or_bytes(Pull(address), read))


def _of_file(path: Path, kind: ArtifactKind | None) -> tuple[ArtifactKind, Any]:
    form = kind_in(str(path)).form
    if kind == "table" or (kind is None and form not in (Format.bytes, Format.json)):
        with read_file(path) as table:
            rows = list(table) if isinstance(table, RowsFile) else [row for batch in table for row in batch.to_pylist()]
        return of_value(rows, "table")
    return of_value(*_of_bytes(path.read_bytes(), guess_media_type(path.name), kind))


def _of_bytes(data: bytes, media_type: str, kind: ArtifactKind | None) -> tuple[Any, ArtifactKind]:
    if kind is None:
        essence = media_type.partition(";")[0].strip().lower()
        kind = "json" if essence in _JSON_TYPES or essence.endswith("+json") else "text"
    try:
        return (data.decode() if kind == "text" else loads(data)), kind
    except UnicodeDecodeError as error:
        known = f" (its type is {media_type})" if media_type else ""
        raise WireError(f"This is not a text in UTF-8{known}; a session has a text, JSON or a table") from error
    except MALFORMED as error:
        raise WireError("This is not JSON; use --kind text to share it as a text") from error


def _is_rows(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(each, dict) for each in value)


def check_kind(kind: Any) -> None:
    """Raise WireError for anything but text, json, table or None."""
    if kind is not None and kind not in KINDS:
        raise WireError(f"kind must be text, json or table, not {kind!r:.20}")
