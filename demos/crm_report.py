"""How `crm` ends: a table and a timeline for people, one JSON object for programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import orjson
from rich.console import Console
from rich.table import Table

from .crm_told import Told

LANES = {"crm": "CRM server", "feed": "feed crm.contacts", "bridge": "bridge", "email": "email server"}
ALIVE, DEAD, MAIL, VERSION = "#1f6f8b", "#b3261e", "#2e7d32", "#c2571a"
_LEFT, _WIDTH, _RIGHT, _TOP, _LANE = 150, 820, 30, 96, 46
_MAILS = 90
_COLUMNS = 164
_TICKS = 8


def report(told: Told, *, json: bool, output: str) -> None:
    """Write the picture, and print the report."""
    picture = Path(output) if output else _new_file()
    picture.write_text(svg(told), encoding="utf-8")
    if json:
        print(orjson.dumps({**told.as_json(), "picture": str(picture)}).decode())
        return
    console = Console(highlight=False)
    console.print(_table(told))
    for kill in told.kills:
        console.print(f"{kill.at:8,.0f} ms  {LANES[kill.lane]}: {kill.what}")
    for problem in told.problems:
        console.print(f"[bold red]{escape(problem)}[/]")
    proof = "List and CRM agree, every mail is there exactly once" if told.verified else "[bold red]NOT verified[/]"
    console.print(f"{proof}. Picture: {picture}", soft_wrap=True)


def svg(told: Told) -> str:
    """Return the timeline: the lifetime of each process, versions, crashes, and mails over time."""
    end = told.ms or 1.0
    foot = _TOP + _LANE * len(LANES) + _MAILS
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" '
        f'height="{foot + 40 + 16 * (1 + len(told.kills))}" font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="15">From CRM to mailbox: {told.agreement.contacts} contacts, '
        f"{told.versions} versions, {told.mails.in_mailbox} mails, {len(told.kills)} crashes</text>",
    ]
    for tick in range(_TICKS + 1):
        x = _LEFT + _WIDTH * tick / _TICKS
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{foot}" stroke="#e4e4e4"/>')
        parts.append(
            f'<text x="{x:.1f}" y="{foot + 14}" text-anchor="middle">{end * tick / _TICKS / 1000:,.1f} s</text>'
        )
    for place, step in enumerate(told.steps):
        x, y = _x(step.at, end), 44 + 13 * (place % 3)
        parts.append(f'<line x1="{x:.1f}" y1="{y}" x2="{x:.1f}" y2="{foot}" stroke="#bbb" stroke-dasharray="2 3"/>')
        parts.append(f'<text x="{x + 3:.1f}" y="{y + 4}" fill="#555">{escape(step.what)}</text>')
    for place, (lane, title) in enumerate(LANES.items()):
        y = _TOP + place * _LANE
        parts.append(f'<text x="12" y="{y + 20}">{escape(title)}</text>')
        parts += _versions(told, y, end) if lane == "feed" else _lives(told, lane, y, end)
    parts += _mails(told, foot - 6, end)
    for place, kill in enumerate(told.kills):
        text = f"✕ {kill.at / 1000:,.2f} s  {LANES[kill.lane]}: {kill.what}"
        parts.append(f'<text x="12" y="{foot + 40 + 16 * place}" fill="{DEAD}">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>", ""])


def _lives(told: Told, lane: str, y: int, end: float) -> list[str]:
    parts = []
    for start, stop, killed in told.lives[lane]:
        left, right = _x(start, end), _x(stop or end, end)
        width = max(1.0, right - left)
        parts.append(
            f'<rect class="life" x="{left:.1f}" y="{y + 8}" width="{width:.1f}" height="16" fill="{ALIVE}" rx="3"/>'
        )
        if killed:
            parts.append(
                f'<text class="kill" x="{right:.1f}" y="{y + 23}" text-anchor="middle" font-size="20" '
                f'font-weight="bold" fill="{DEAD}">✕</text>'
            )
    return parts


def _versions(told: Told, y: int, end: float) -> list[str]:
    parts = [f'<line x1="{_LEFT}" y1="{y + 16}" x2="{_LEFT + _WIDTH}" y2="{y + 16}" stroke="#ddd"/>']
    for at, version in told.published:
        x = _x(at, end)
        parts.append(f'<circle class="version" cx="{x:.1f}" cy="{y + 16}" r="5" fill="{VERSION}"/>')
        parts.append(f'<text x="{x:.1f}" y="{y + 34}" text-anchor="middle">v{version}</text>')
    return parts


def _mails(told: Told, foot: int, end: float) -> list[str]:
    """Draw mails over time as columns; repeats are marked."""
    counts = [0] * _COLUMNS
    for at in told.arrived:
        counts[min(_COLUMNS - 1, max(0, int(_COLUMNS * at / end)))] += 1
    most, wide = max(counts, default=0) or 1, _WIDTH / _COLUMNS
    parts = [f'<text x="12" y="{foot - 24}">mails</text><text x="12" y="{foot - 10}">(most: {most})</text>']
    for place, count in enumerate(counts):
        if count:
            high = (_MAILS - 30) * count / most
            x = _LEFT + place * wide
            parts.append(
                f'<rect class="mails" x="{x:.1f}" y="{foot - high:.1f}" width="{wide - 1:.1f}" '
                f'height="{high:.1f}" fill="{MAIL}"/>'
            )
    for at in told.repeated:
        x = _x(at, end)
        parts.append(f'<circle class="repeat" cx="{x:.1f}" cy="{foot - _MAILS + 20}" r="4" fill="{DEAD}"/>')
        side = f'x="{x + 6:.1f}"' if at < end * 0.8 else f'x="{x - 6:.1f}" text-anchor="end"'
        parts.append(f'<text {side} y="{foot - _MAILS + 24}" fill="{DEAD}">came again, dropped</text>')
    return parts


def _table(told: Told) -> Table:
    title = f"crm, {told.source}, {'with' if told.crashes else 'without'} crashes, {told.ms / 1000:,.1f} s"
    table = Table("what", title=title, title_justify="left")
    table.add_column("", justify="right")
    mails, hidden, context = told.mails, told.hidden, told.context
    memory = "not looked at" if hidden.values_in_memory is None else f"{hidden.values_in_memory:,}"
    for what, value in (
        ("contacts in the CRM, members of the list", f"{told.agreement.contacts:,}, {told.agreement.members:,}"),
        ("of which differ", f"{told.agreement.different:,}"),
        ("versions of the feed", f"{told.versions:,}"),
        ("mails that they call for, mails in the mailbox", f"{mails.expected:,}, {mails.in_mailbox:,}"),
        ("missing, not called for", f"{mails.missing:,}, {mails.unexpected:,}"),
        ("came again and were dropped (one a crash may)", f"{mails.repeats:,} of {mails.repeats_allowed:,}"),
        ("columns that arrived at the email server", ", ".join(hidden.columns_arrived)),
        ("hidden values in its mails and files", f"{hidden.values_in_mails_and_list:,}"),
        (f"hidden values in its memory ({hidden.memory_bytes / 1e6:,.0f} MB)", memory),
        ("through the agent: bytes, tokens", f"{context.bytes:,}, {context.tokens:,}"),
        ("values in there that are not in the abstract", f"{context.values:,}"),
    ):
        table.add_row(what, value)
    return table


def _x(at: float, end: float) -> float:
    return _LEFT + _WIDTH * min(1.0, max(0.0, at / end))


def _new_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="crm-", suffix=".svg")
    os.close(handle)
    return Path(name)
