"""Edits as participants propose them: a region, and what is to be in its place. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from broker_plane.errors import ChangeError
from broker_plane.sessions import json_patch, text_ops
from broker_plane.sessions.hunks import patched
from broker_plane.sessions.json_differences import same
from broker_plane.sessions.replicas.port import ArtifactKind, Change, Value
from broker_plane.sessions.text_differences import from_texts

_TEXT_FORMS = "{'text': …}, {'ops': […]}, {'diff': '…'}, a text, or null, which deletes the region"
_DOCUMENT_FORMS = "{'value': …}, {'patch': […]}, a list of JSON Patch operations, or null, which deletes the region"


def edit_change(kind: ArtifactKind, value: Value, region: Mapping[str, Any] | None, edit: object) -> Change:
    """The change that an edit of `value` amounts to.

    For a text it is an operation of `text_ops`, for JSON and tables a JSON Patch in the normal form of `json_patch`.
    `Replica.change_for` makes of it what the sync protocol sends.

    `region` is `{"start", "end"}` in code points, or `{"path"}`; None is the whole artifact. An edit that puts into
    its region what is there already is the empty change.

    Raises:
        ChangeError: the edit or its region does not fit the value; the message says why.
    """
    if kind == "text":
        return _text_change(value, region, edit)
    patch = _document_change(value, region, edit)
    if kind == "table":
        json_patch.check_rows(patch)
    return patch


def _text_change(text: str, region: Mapping[str, Any] | None, edit: object) -> text_ops.Op:
    start, end = text_region(text, region)
    match edit:
        case None:
            return text_ops.replacement(text, start, end, "")
        case str(new) | {"text": str(new)}:
            if text[start:end] == new:
                return []
            return text_ops.parse(text_ops.replacement(text, start, end, new))
        case list(raw) | {"ops": list(raw)}:
            _without_region(region, "ops")
            op = text_ops.parse(raw, text)
            text_ops.check_fits(op, text)
            return op
        case {"diff": str(diff)}:
            _without_region(region, "diff")
            return text_ops.parse(from_texts(text, patched(text, diff)))
    raise ChangeError(f"An edit of a text is {_TEXT_FORMS}")


def _document_change(document: Value, region: Mapping[str, Any] | None, edit: object) -> json_patch.Patch:
    path = path_region(region)
    match edit:
        case None:
            return json_patch.parse([{"op": "remove", "path": path}], document)
        case list(patch) | {"patch": list(patch)}:
            _without_region(region, "patch")
            return json_patch.parse(patch, document)
        case {"value": value, **others} if not others:
            placement = _placement(document, path, value)
            return json_patch.parse([placement], document) if placement else []
    raise ChangeError(f"An edit of JSON or of a table is {_DOCUMENT_FORMS}")


def _placement(document: Value, path: str, value: Any) -> json_patch.Operation | None:
    """The operation that puts `value` at a place: of what is there, or as a new member, or at the end of a list.

    None if it is there already.
    """
    try:
        present = json_patch.at(document, json_patch.tokens(path))
    except ChangeError:
        return {"op": "add", "path": path, "value": value}
    return None if same(present, value) else {"op": "replace", "path": path, "value": value}


def path_region(region: Mapping[str, Any] | None) -> str:
    """The JSON Pointer of a region of a JSON document or a table. Raises ChangeError if the region has none."""
    match region:
        case None:
            return ""
        case {"path": str(path)}:
            return path
    raise ChangeError("A region of JSON or of a table is {'path': '/name/0'}, a JSON Pointer")


def text_region(text: str, region: Mapping[str, Any] | None) -> tuple[int, int]:
    """The start and the end of a region of a text, in code points. Raises ChangeError if the text does not have it."""
    match region:
        case None:
            return 0, len(text)
        case {"start": int(start), "end": int(end)} if 0 <= start <= end <= len(text):
            return start, end
        case {"start": int(start), "end": int(end)}:
            raise ChangeError(f"The region {start} to {end} is not in the text, which has {len(text)} code points")
    raise ChangeError("A region of a text is {'start': n, 'end': m}, in code points")


def _without_region(region: Mapping[str, Any] | None, form: str) -> None:
    if region is not None:
        raise ChangeError(f"An edit with {form!r} is of the whole artifact. Leave the region out")
