"""The JSON Schema of the transfer descriptor, for programs in other languages: docs/transfer-descriptor.schema.json."""

from __future__ import annotations

from typing import Any

from broker_plane.wire.descriptor import Descriptor


def descriptor_schema() -> dict[str, Any]:
    """JSON Schema 2020-12. Rules that it cannot express (a value for each auth but `none`) are checked by the model."""
    schema = Descriptor.model_json_schema(by_alias=True, mode="validation")
    required = ["$schema", *schema["required"]]
    dialect = "https://json-schema.org/draft/2020-12/schema"
    return {"$schema": dialect, **schema, "title": "Transfer descriptor", "required": required}
