"""stats: draws and summarizes weather alerts; the rows arrive from another server, over the broker.

python -m servers.stats
"""

from __future__ import annotations

from typing import Any

from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult

from broker_plane import PlaneServer

from .charts import Format, chart_path, chart_result, draw
from .checksum import rows_checksum
from .pictures import LEVELS, NAMES, alert_counts, alert_panels, alert_spans

Row = dict[str, Any]
server = PlaneServer("stats")


@server.consumer_tool()
def draw_chart(rows: list[Row], output: str = "", format: Format = "png") -> CallToolResult:
    """Weather alerts in six panels (events, offices, severity, urgency, certainty, time), in a PNG or SVG file."""
    if not rows:
        raise ToolError("There are no alerts: choose at least one row")
    path = chart_path(output, format, stem="alerts")
    draw(alert_panels(rows), path, format)
    return chart_result(path, format, {"rows": len(rows), "checksum": rows_checksum(rows)})


@server.consumer_tool()
def summarize(rows: list[Row]) -> Row:
    """How many alerts there are of each event, office and level, and the time that they span (UTC)."""
    counts = {column: dict(alert_counts(rows, column).most_common()) for column in (*NAMES, *LEVELS)}
    spans = alert_spans(rows)
    first = min((start.isoformat() for start, _, _ in spans), default=None)
    last = max((end.isoformat() for _, end, _ in spans), default=None)
    return {
        "rows": len(rows),
        "first_onset": first,
        "last_end": last,
        **counts,
        "checksum": rows_checksum(rows),
    }


if __name__ == "__main__":
    server.run()
