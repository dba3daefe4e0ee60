"""Which reading tools work with the bridge of these settings."""

from __future__ import annotations

from importlib.util import find_spec

from broker_plane.config import Settings
from broker_plane.reading.tools import ReadingTool, reading_tools


def tools_here(settings: Settings) -> tuple[ReadingTool, ...]:
    """The reading tools that will work: queries need DuckDB, which a bridge of this environment may not have."""
    tools = reading_tools()
    if settings.bridge_url or find_spec("duckdb") is not None:
        return tools
    return tuple(tool for tool in tools if tool.name != "query_body")
