"""Descriptors that others hold: each file is read, and written again as it stands there."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest

from broker_plane.wire.descriptor import Descriptor, parse_descriptor
from broker_plane.wire.schema import descriptor_schema

HERE = Path(__file__).parent / "descriptors"
SCHEMA = Path(__file__).parents[2] / "docs/transfer-descriptor.schema.json"


@pytest.mark.parametrize("path", sorted(HERE.glob("*.json")), ids=lambda path: path.stem)
def test_a_descriptor_is_written_as_it_was_read(path: Path) -> None:
    fields = json.loads(path.read_text())
    assert json.dumps(parse_descriptor(fields).to_wire(), indent=2) + "\n" == path.read_text()
    jsonschema.validate(fields, json.loads(SCHEMA.read_text()))


def test_one_of_them_has_every_field() -> None:
    fields = json.loads((HERE / "every_field.json").read_text())
    assert {field.alias or name for name, field in Descriptor.model_fields.items()} < set(fields)


def test_the_published_schema_is_the_models() -> None:
    """Written by: json.dumps(descriptor_schema(), indent=2)."""
    assert json.loads(SCHEMA.read_text()) == descriptor_schema()
