"""Decides where a chart may be written, and returns it to the agent: as facts, and a PNG also as an image."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import orjson
from mcp.server.mcpserver import Image
from mcp.server.mcpserver.exceptions import ToolError
from mcp.types import CallToolResult, ContentBlock, TextContent

from .pictures import GRID, INK

if TYPE_CHECKING:
    import altair as alt

Format = Literal["png", "svg"]
DIRECTORY = "BROKER_PLANE_CHART_DIR"
_PIXELS = 1.5
"""Pixels of a PNG per unit of the chart."""


def chart_path(output: str, format: Format, *, stem: str) -> Path:
    """Return the file to write: `output`, or a new one in the chart directory if `output` is empty.

    Raises:
        ToolError: the file is outside the chart directory, or its name does not end like the format.
    """
    roots = _roots()
    if not output:
        handle, name = tempfile.mkstemp(prefix=f"{stem}-", suffix=f".{format}", dir=roots[0])
        os.close(handle)
        return Path(name)
    path = Path(output).expanduser().resolve()
    if path.suffix.lower() != f".{format}":
        raise ToolError(f"output {output!r} must end in .{format}, or name the other format")
    if not any(path.is_relative_to(root) for root in roots):
        allowed = ", ".join(map(str, roots))
        raise ToolError(f"output {output!r} lies outside {allowed}: name a file in there, or set {DIRECTORY}")
    if not path.parent.is_dir():
        raise ToolError(f"output {output!r}: there is no directory {path.parent}; make it first")
    return path


def _roots() -> list[Path]:
    named, here = os.environ.get(DIRECTORY, ""), Path.cwd()
    roots = [Path(named).expanduser()] if named else []
    roots.append(Path(tempfile.gettempdir()))
    # Some hosts start their servers in /, which would permit every file.
    if here != Path(here.anchor):
        roots.append(here)
    return [root.resolve() for root in roots]


def draw(chart: alt.TopLevelMixin, path: Path, format: Format) -> None:
    """Write the chart in this project's look; vl-convert renders it in this process, without browser or network."""
    chart = (
        chart.configure(background="white", padding=18, font="Liberation Sans, Arial, sans-serif")
        .configure_view(stroke=None)
        .configure_axis(labelColor=INK, titleColor=INK, gridColor=GRID, domain=False, ticks=False, labelLimit=260)
        .configure_title(color=INK, anchor="start", fontSize=14, subtitleColor="#607d8b", subtitlePadding=4)
    )
    chart.save(str(path), format=format, scale_factor=_PIXELS if format == "png" else 1)


def chart_result(path: Path, format: Format, facts: dict[str, Any]) -> CallToolResult:
    """Return the facts and the file's name as text and as structured content, and a PNG also as an image."""
    said = {"chart": str(path), **facts}
    content: list[ContentBlock] = [TextContent(text=orjson.dumps(said, default=str).decode())]
    if format == "png":
        content.append(Image(path=path).to_image_content())
    return CallToolResult(content=content, structured_content=said)
