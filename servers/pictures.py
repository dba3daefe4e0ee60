"""The charts of stats and analytics, in altair: what is drawn and in which order. It writes no files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import altair as alt

INK, GRID, BLUE = "#263238", "#e4e8eb", "#3b6ea5"
HEAT = ("#8e1b2f", "#d9541e", "#eda13a", "#7fa65a", "#9aa5ab")
"""Levels from highest to lowest."""
LEVELS = {
    "severity": ("Extreme", "Severe", "Moderate", "Minor", "Unknown"),
    "urgency": ("Immediate", "Expected", "Future", "Past", "Unknown"),
    "certainty": ("Observed", "Likely", "Possible", "Unlikely", "Unknown"),
}
NAMES = {"event": "Events", "senderName": "Offices"}
MOST_NAMES, MOST_SPANS, MOST_BARS = 10, 24, 40

Row = dict[str, Any]
Span = tuple[datetime, datetime, Row]


def alert_panels(rows: Sequence[Row]) -> alt.VConcatChart:
    """Return the chart of weather alerts: names at the top, levels below, and their times at the bottom."""
    spans = alert_spans(rows)
    during = f"{spans[0][0]:%d %b %H:%M} to {max(end for _, end, _ in spans):%d %b %H:%M} UTC" if spans else ""
    title = alt.Title(f"{len(rows)} weather alert{'s' * (len(rows) != 1)}", fontSize=20, subtitle=during, offset=14)
    names = [_counted_bars(_top(rows, column), title, 240) for column, title in NAMES.items()]
    levels = [_counted_bars(_in_order(rows, level), level.capitalize(), 165, HEAT) for level in LEVELS]
    parts: list[Any] = [_beside(names), _beside(levels), *([_timeline(spans)] if spans else [])]
    panels: alt.VConcatChart = alt.vconcat(*parts, spacing=28, title=title).resolve_scale(color="independent")
    return panels


def _beside(parts: Sequence[alt.LayerChart]) -> alt.HConcatChart:
    # Each level has its own colors; shared scales would be merged into one.
    row: alt.HConcatChart = alt.hconcat(*parts, spacing=36).resolve_scale(color="independent")
    return row


def alert_counts(rows: Sequence[Row], column: str) -> Counter[str]:
    """Return a chart of the number of alerts for each value of `column`."""
    return Counter(str(row.get(column) or "Unknown") for row in rows)


def alert_spans(rows: Sequence[Row]) -> list[Span]:
    """Return onset and end in UTC of each alert that has an onset; without an end it lasts until it expires."""
    ends = ((row, row.get("ends") or row.get("expires")) for row in rows if row.get("onset"))
    spans = [(_utc(row["onset"]), _utc(end), row) for row, end in ends if end]
    return sorted(spans, key=lambda span: span[:2])


def _utc(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


def _top(rows: Sequence[Row], column: str) -> list[tuple[str, int]]:
    found = alert_counts(rows, column).most_common()
    rest = sum(count for _, count in found[MOST_NAMES:])
    return found[:MOST_NAMES] + ([(f"{len(found) - MOST_NAMES} more", rest)] if rest else [])


def _in_order(rows: Sequence[Row], level: str) -> list[tuple[str, int]]:
    found = alert_counts(rows, level)
    return [(name, found[name]) for name in LEVELS[level]]


def _counted_bars(counted: list[tuple[str, int]], title: str, width: int, colors: Sequence[str] = ()) -> alt.LayerChart:
    data = alt.InlineData(values=[{"name": name, "alerts": count} for name, count in counted])
    order = [name for name, _ in counted]
    scale = alt.Scale(domain=order, range=list(colors)) if colors else None
    base = alt.Chart(data).encode(alt.Y("name:N", sort=order, title=None), alt.X("alerts:Q", axis=None))
    filled = alt.Color("name:N", scale=scale, legend=None) if scale else alt.value(BLUE)
    counts = base.mark_text(align="left", dx=4, color=INK).encode(text="alerts:Q")
    chart = alt.LayerChart(layer=[base.mark_bar().encode(color=filled), counts])
    return chart.properties(title=title, width=width, height=alt.Step(21))


def _timeline(spans: list[Span]) -> alt.Chart:
    data = alt.InlineData(
        values=[
            {
                "from": start.isoformat(),
                "to": end.isoformat(),
                "name": f"{number}. {row.get('event')}, {str(row.get('areaDesc')).split('; ')[0]}",
                "severity": row.get("severity") or "Unknown",
            }
            for number, (start, end, row) in enumerate(spans[:MOST_SPANS], 1)
        ]
    )
    left = len(spans) - MOST_SPANS
    title = alt.Title("When they hold (UTC)", subtitle="by severity" + f"; {left} later ones left out" * (left > 0))
    scale = alt.Scale(domain=list(LEVELS["severity"]), range=list(HEAT))
    days = alt.Axis(format="%d %b %H:%M", tickCount=6)
    chart = alt.Chart(data, title=title, width=680, height=alt.Step(20)).mark_bar(cornerRadius=2, height=12)
    placed: alt.Chart = chart.encode(
        alt.X("from:T", title=None, scale=alt.Scale(type="utc"), axis=days),
        alt.X2("to:T"),
        alt.Y("name:N", sort=None, title=None),
        alt.Color("severity:N", scale=scale, legend=None),
    )
    return placed


def group_bars(values: dict[Any, int | float], *, x: str, measure: str, rows: int) -> alt.LayerChart:
    """Return horizontal bars sorted by size if `x` is text; else columns in the order of `x` (numbers or times)."""
    upright = not any(isinstance(key, str) for key in values)
    order = list(values.items()) if upright else sorted(values.items(), key=lambda item: item[1], reverse=True)
    shown = [{"name": str(key), "size": size, "text": _number(size)} for key, size in order[:MOST_BARS]]
    note = f"{rows:,} rows" + (f"; {len(shown)} of {len(values):,} groups" if len(shown) < len(values) else "")
    base = alt.Chart(alt.InlineData(values=shown)).encode(text="text:N")
    names = alt.Axis(grid=False, labelAngle=0, title=x)
    sizes, scale = alt.Axis(title=measure, tickCount=6, labelFlush=False), _roomy(order[:MOST_BARS])
    if upright:
        room: dict[str, Any] = {"width": max(360, 44 * len(shown)), "height": 320}
        placed = base.encode(alt.X("name:N", sort=None, axis=names), alt.Y("size:Q", axis=sizes, scale=scale))
        ends = placed.mark_text(dy=-7, color=INK), placed.mark_text(dy=9, color=INK)
    else:
        room = {"width": 560, "height": alt.Step(23)}
        placed = base.encode(alt.Y("name:N", sort=None, axis=names), alt.X("size:Q", axis=sizes, scale=scale))
        ends = placed.mark_text(align="left", dx=5, color=INK), placed.mark_text(align="right", dx=-5, color=INK)
    sides = zip(ends, ("datum.size >= 0", "datum.size < 0"), strict=True)
    written = [end.transform_filter(side) for end, side in sides]
    title = alt.Title(f"{measure} by {x}", subtitle=note, fontSize=18, offset=14)
    chart = alt.LayerChart(layer=[placed.mark_bar(color=BLUE), *written])
    return chart.properties(title=title, **room)


def _number(size: float) -> str:
    return f"{size:,}" if isinstance(size, int) else f"{size:,.2f}"


def _roomy(order: list[tuple[Any, int | float]]) -> alt.Scale:
    """Return a scale that leaves room for the numbers at the ends of the bars."""
    low, high = min(0, *(size for _, size in order)), max(0, *(size for _, size in order))
    room = 0.1 * ((high - low) or 1)
    return alt.Scale(domain=[low - room * (low < 0), high + room * (high > 0)], nice=False)
