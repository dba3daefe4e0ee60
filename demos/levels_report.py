"""How `levels` ends: a table, and a picture of the time that each run took; one JSON object for programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import orjson
from rich import box as boxes
from rich.console import Console
from rich.table import Table

from .levels_runs import PHASES, Run, Told

COUNTED = "Tokens are those of prompts and answers: as the provider counts them, else 1 token = 4 UTF-8 bytes."
SAID_SCRIPTED = (
    "The provider is scripted: its answers were written beforehand, two of them wrong. No model was called. "
    "With --provider, a model writes them."
)
_COLOURS = {"2": "#c2571a", "1.5": "#1f6f8b", "": "#b3261e"}
_LEFT, _WIDTH, _RIGHT, _TOP, _HEAD, _LINE, _GAP = 250, 560, 250, 70, 10, 22, 24


def report(told: Told, *, json: bool, output: str) -> None:
    """Write the picture, and print the report."""
    picture = Path(output) if output else _new_file()
    picture.write_text(svg(told), encoding="utf-8")
    if json:
        print(orjson.dumps({**told.as_json(), "counted": COUNTED, "picture": str(picture)}).decode())
        return
    console = Console(highlight=False)
    for line in (_table(told), *_notes(told)):
        console.print(line)
    for problem in told.problems:
        console.print(f"[bold red]{escape(problem)}[/]")
    proof = "Every file has the SHA-256 of its descriptor" if told.verified else "[bold red]NOT verified[/]"
    console.print(f"{proof}. Picture: {picture}", soft_wrap=True)


def svg(told: Told) -> str:
    """Return a panel for each protocol with a bar for each run, and a circle for each call of the provider."""
    protocols = list(dict.fromkeys(run.protocol for run in told.runs))
    most = max((run.ms for run in told.runs), default=0.0) or 1.0
    parts: list[str] = []
    y: float = _TOP
    for protocol in protocols:
        parts.append(
            f'<text class="protocol" x="12" y="{y}" font-size="13" font-weight="bold">{escape(protocol)}</text>'
        )
        y += _HEAD
        for run in (run for run in told.runs if run.protocol == protocol):
            parts += _bar(run, y, most)
            y += _LINE
        y += _GAP
    notes = [
        f'<text x="12" y="{y + 16 * n}" fill="#555">{escape(note)}</text>' for n, note in enumerate(_notes(told)[1:])
    ]
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{y + 16 * len(notes)}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="15">{len(protocols)} protocols without a handler, {told.rows:,} readings each'
        "</text>",
        f'<text x="12" y="42" fill="{_COLOURS["2"]}">■ Level 2: code from the provider</text>',
        f'<text x="220" y="42" fill="{_COLOURS["1.5"]}">■ Level 1.5: code from the cache</text>',
        '<text x="420" y="42">● a call of the provider</text>',
    ]
    return "\n".join([*head, *parts, *notes, "</svg>", ""])


def _bar(run: Run, y: float, most: float) -> list[str]:
    width = max(1.0, _WIDTH * run.ms / most)
    colour = _COLOURS.get(run.level, _COLOURS[""])
    calls = "●" * run.provider_calls
    said = "FAILED" if run.error else f"{run.ms:,.0f} ms, {run.bytes:,} bytes, {_number(run.tokens)} tokens"
    return [
        f'<text x="24" y="{y + 11}">{escape(PHASES[run.phase])}</text>',
        f'<rect class="run" x="{_LEFT}" y="{y}" width="{width:.1f}" height="14" fill="{colour}" rx="2"/>',
        f'<text x="{_LEFT + width + 6:.1f}" y="{y + 11}"><tspan class="calls">{calls}</tspan> {escape(said)}</text>',
    ]


def _table(told: Told) -> Table:
    title = f"levels, {told.rows:,} readings over each protocol"
    table = Table(title=title, title_justify="left", box=boxes.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("run", "protocol", "level"):
        table.add_column(heading, no_wrap=True)
    for heading in ("calls", "tokens", "ms", "bytes"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("sandbox", no_wrap=True)
    last = ""
    for run in told.runs:
        if last and run.phase != last:
            table.add_section()
        cells = (str(run.provider_calls), _number(run.tokens), f"{run.ms:,.0f}", f"{run.bytes:,}", run.rung)
        table.add_row(run.phase, run.protocol, run.level or "FAILED", *cells)
        last = run.phase
    return table


def _notes(told: Told) -> list[str]:
    phases = "; ".join(f"{name}: {title}" for name, title in PHASES.items())
    who = SAID_SCRIPTED if told.scripted else f"The provider is {told.provider}."
    return [f"{phases[0].upper()}{phases[1:]}.", COUNTED, who]


def _number(value: int | None) -> str:
    return "?" if value is None else f"{value:,}"


def _new_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="levels-", suffix=".svg")
    os.close(handle)
    return Path(name)
