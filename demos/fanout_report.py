"""How `fanout` ends: a table and a picture for people, one JSON object for programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import orjson
from rich.console import Console
from rich.table import Table

from .crowd import Fanned, Row

COLOURS = {"http": "#c2571a", "nats": "#1f6f8b"}
_LINE, _LEFT, _WIDTH, _RIGHT, _TOP = 14, 210, 640, 190, 64
_TICKS = 8


def report(fanned: Fanned, *, json: bool, output: str) -> None:
    """Write the picture, and print the report."""
    picture = Path(output) if output else _new_file()
    picture.write_text(svg(fanned), encoding="utf-8")
    if json:
        print(orjson.dumps({**fanned.as_json(), "picture": str(picture)}).decode())
        return
    console = Console(highlight=False)
    console.print(_table(fanned))
    for line in _sums(fanned):
        console.print(line)
    proof = "Each got exactly what its grant shows" if fanned.verified else "[bold red]NOT all are verified[/]"
    console.print(f"{proof}. Picture: {picture}", soft_wrap=True)


def svg(fanned: Fanned) -> str:
    """Return one line per consumer, from its start to the last verified byte; stronger if it got more."""
    end = fanned.ms or 1.0
    height = _TOP + _LINE * len(fanned.consumers) + 16 * (len(_sums(fanned)) + 1)
    most = max((consumer.bytes or 0 for consumer in fanned.consumers), default=0) or 1
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{height}" '
        'font-family="sans-serif" font-size="10">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="20" font-size="14">{len(fanned.consumers)} consumers of one body of {fanned.size:,} bytes'
        "</text>",
        *(
            f'<text x="{_LEFT + number * 90}" y="38" fill="{colour}">■ over {way.upper()}</text>'
            for number, (way, colour) in enumerate(COLOURS.items())
        ),
    ]
    for tick in range(_TICKS + 1):
        x = _LEFT + _WIDTH * tick / _TICKS
        foot = _TOP + _LINE * len(fanned.consumers)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 6}" x2="{x:.1f}" y2="{foot}" stroke="#ddd"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP - 9}" text-anchor="middle">{end * tick / _TICKS:,.0f} ms</text>')
    for line, consumer in enumerate(fanned.consumers):
        parts += _bar(consumer, _TOP + line * _LINE, end, most)
    foot = _TOP + _LINE * len(fanned.consumers) + 18
    parts += [f'<text x="12" y="{foot + 16 * n}">{escape(text)}</text>' for n, text in enumerate(_sums(fanned))]
    return "\n".join([*parts, "</svg>", ""])


def _bar(consumer: Row, y: int, end: float, most: int) -> list[str]:
    begin = _LEFT + _WIDTH * max(0.0, consumer.start_ms) / end
    width = max(1.0, _WIDTH * (consumer.end_ms - max(0.0, consumer.start_ms)) / end)
    strength = 0.35 + 0.65 * (consumer.bytes or 0) / most
    said = f"{consumer.rows:,} rows, {_number(consumer.bytes)} bytes" if consumer.verified else "FAILED"
    return [
        f'<text x="12" y="{y + 10}">{escape(consumer.name)}  {escape(consumer.shows)}</text>',
        f'<rect x="{begin:.1f}" y="{y + 2}" width="{width:.1f}" height="{_LINE - 4}" '
        f'fill="{COLOURS[consumer.way]}" fill-opacity="{strength:.2f}"/>',
        f'<text x="{_LEFT + _WIDTH + 8}" y="{y + 10}">{said}</text>',
    ]


def _table(fanned: Fanned) -> Table:
    table = Table("who", "way", "process", "was shown", title="fanout", title_justify="left")
    for heading in ("rows", "bytes", "from ms", "to ms"):
        table.add_column(heading, justify="right")
    table.add_column("")
    for one in fanned.consumers:
        cells = (f"{one.rows:,}", _number(one.bytes), f"{one.start_ms:,.0f}", f"{one.end_ms:,.0f}")
        how = "verified" if one.verified else one.error or "not what was published"
        table.add_row(one.name, one.way, str(one.process), one.shows, *cells, how)
    return table


def _sums(fanned: Fanned) -> list[str]:
    spent, count = fanned.spent, len(fanned.consumers)
    return [
        f"Published once: {fanned.size:,} bytes. {count} narrowed grants in {fanned.minting_ms:,.1f} ms.",
        f"Delivered: {fanned.delivered:,} bytes to {count} consumers in {fanned.ms:,.0f} ms, "
        f"{spent.http_bytes:,} of them over HTTP.",
        f"nats-server sent {_number(spent.sent_bytes)} bytes in all, to the bridge and to those who pulled over NATS.",
        f"The bridge read from NATS {spent.bridge_reads} times, and {spent.cache_hits} times had it in memory.",
    ]


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _new_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="fanout-", suffix=".svg")
    os.close(handle)
    return Path(name)
