"""Which framework a decorated function is made for."""

from __future__ import annotations

from typing import Any

import pytest
from mcp.server.mcpserver import Context

from broker_plane.errors import ConfigError
from broker_plane.tools import consumer_tool, resource_tool
from broker_plane.tools.framework_lookup import framework_for
from broker_plane.tools.sdk import SdkFramework


def test_the_sdk_is_found_by_its_context_and_without_another_framework() -> None:
    assert framework_for("auto", (Context,)) is framework_for("auto", ()) is framework_for("mcp", ())
    assert isinstance(framework_for("mcp", ()), SdkFramework)


def test_an_unknown_framework_is_an_error() -> None:
    with pytest.raises(ConfigError, match='write "mcp", "fastmcp" or "auto"'):
        framework_for("flask", ())  # type: ignore[arg-type]


def test_a_function_that_a_schema_cannot_describe_is_refused_at_once() -> None:
    def table(*areas: str) -> list[dict[str, Any]]:
        return []

    def nothing() -> int:
        return 1

    with pytest.raises(ConfigError, match="name its parameters"):
        resource_tool(table)
    with pytest.raises(ConfigError, match="needs a parameter for the rows"):
        consumer_tool(nothing)
    with pytest.raises(ConfigError, match='write uses="unlimited"'):
        resource_tool(uses=0)
