"""For schemathesis, which knows no serializer for the parts of uploads: they are bytes."""

from typing import Any

import schemathesis  # type: ignore[import-not-found]  # in its own environment


@schemathesis.serializer("application/partial-upload", "application/offset+octet-stream")  # type: ignore[untyped-decorator]
def parts(context: Any, value: Any) -> bytes:
    raw = getattr(value, "data", value)
    return raw if isinstance(raw, bytes) else str(raw).encode()
