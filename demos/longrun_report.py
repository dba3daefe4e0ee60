"""How `longrun` ends: a table and a timeline for people, one JSON object for programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import orjson
from rich.console import Console
from rich.table import Table

from .longrun_stage import LongRun, Step

LANES = ("agent", "server", "nats-server")
ALIVE, DEAD, INTERRUPTED = "#1f6f8b", "#b3261e", "#c9c9c9"
SERVERS = ("#2e7d32", "#c2571a", "#6a4c93")
"""The colour of a step, by the server process that completed it."""

_LEFT, _WIDTH, _RIGHT, _TOP, _LANE, _BAR = 130, 820, 30, 66, 40, 18
_TICKS = 8


def report(play: LongRun, *, json: bool, output: str) -> None:
    """Write the picture, and print the report."""
    picture = Path(output) if output else _new_file()
    picture.write_text(svg(play), encoding="utf-8")
    if json:
        print(orjson.dumps({**as_json(play), "picture": str(picture)}).decode())
        return
    console = Console(highlight=False)
    console.print(_table(play))
    for kill in play.kills:
        console.print(f"{(kill.at - play.began) * 1000:8,.0f} ms  {kill.lane} killed in step {kill.step}")
    for problem in play.problems:
        console.print(f"[bold red]{escape(problem)}[/]")
    again = sum(not step.ended for step in play.steps)
    proof = f"One result, as without interruptions; {again} of {len(play.expected)} steps began twice"
    console.print(f"{proof if play.verified else '[bold red]NOT verified[/]'}. Picture: {picture}", soft_wrap=True)


def as_json(play: LongRun) -> dict[str, Any]:
    """The report for programs; times are milliseconds since the begin."""
    return {
        "demo": "longrun",
        "verified": play.verified,
        "problems": play.problems,
        "ms": round(play.milliseconds, 1),
        "task": play.task_id,
        "result": play.result,
        "kills": [{"who": kill.lane, "step": kill.step, "ms": _since(play, kill.at)} for kill in play.kills],
        "steps": [
            {
                "number": step.number,
                "name": step.name,
                "pid": step.pid,
                "began_ms": _since(play, step.began),
                "ended_ms": _since(play, step.ended) if step.ended else None,
            }
            for step in play.steps
        ],
        "processes": [
            {"who": life.lane, "pid": life.pid, "began_ms": _since(play, life.begin), "killed": life.killed}
            for life in play.lives
        ],
    }


def svg(play: LongRun) -> str:
    """The timeline: the lifetime of each process with the kills, and the steps by the process that did them."""
    foot = _TOP + _LANE * len(LANES) + _BAR * len(play.expected) + 14
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_LEFT + _WIDTH + _RIGHT}" height="{foot + 34}" '
        'font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="15">One task of {len(play.expected)} steps, {len(play.kills)} processes '
        f"killed, {'one result' if play.verified else 'NOT verified'}</text>",
        *_legend(len([life for life in play.lives if life.lane == "server"])),
    ]
    for tick in range(_TICKS + 1):
        x = _LEFT + _WIDTH * tick / _TICKS
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP - 8}" x2="{x:.1f}" y2="{foot}" stroke="#e4e4e4"/>')
        seconds = play.milliseconds * tick / _TICKS / 1000
        parts.append(f'<text x="{x:.1f}" y="{foot + 16}" text-anchor="middle">{seconds:,.1f} s</text>')
    for kill in play.kills:
        x = _x(play, kill.at)
        parts.append(
            f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{foot}" stroke="{DEAD}" stroke-dasharray="2 3"/>'
        )
    for place, lane in enumerate(LANES):
        parts += _lives(play, lane, _TOP + place * _LANE)
    for number in range(1, len(play.expected) + 1):
        parts += _bars(play, number, _TOP + _LANE * len(LANES) + _BAR * (number - 1))
    return "\n".join([*parts, "</svg>", ""])


def _legend(servers: int) -> list[str]:
    """What the colours mean; the places fit the widths of the texts."""
    colours = [(12, ALIVE), *((236 + 14 * number, SERVERS[number % len(SERVERS)]) for number in range(servers))]
    words = 236 + 14 * servers + 4
    texts = [
        (28, "a process"),
        (110, "was killed by kill -9"),
        (words, "a step, by the server process that completed it"),
    ]
    grey = words + 270
    squares = [*colours, (grey, INTERRUPTED)]
    texts.append((grey + 16, "a step whose process was killed; it began again"))
    return [
        *(f'<rect x="{x}" y="32" width="10" height="10" fill="{colour}" rx="2"/>' for x, colour in squares),
        f'<text x="94" y="42" font-size="14" font-weight="bold" fill="{DEAD}">✕</text>',
        *(f'<text x="{x}" y="41">{text}</text>' for x, text in texts),
    ]


def _lives(play: LongRun, lane: str, y: int) -> list[str]:
    parts, crosses = [f'<text x="12" y="{y + 20}">{lane}</text>'], []
    for life in play.lives:
        if life.lane != lane:
            continue
        left, right = _x(play, life.begin), _x(play, life.end) if life.end else float(_LEFT + _WIDTH)
        parts.append(_bar("life", left, right, y + 8, 16, ALIVE))
        if life.killed:
            crosses.append(
                f'<text class="kill" x="{right:.1f}" y="{y + 23}" text-anchor="middle" font-size="20" '
                f'font-weight="bold" fill="{DEAD}">✕</text>'
            )
    return parts + crosses  # above the bar of the next process


def _bars(play: LongRun, number: int, y: int) -> list[str]:
    steps = [step for step in play.steps if step.number == number]
    name = steps[0].name if steps else ""
    parts = [f'<text x="12" y="{y + 14}">step {number}: {escape(name)}</text>']
    for step in steps:
        left = _x(play, step.began)
        if step.ended:
            parts.append(_bar("step", left, _x(play, step.ended), y + 3, _BAR - 6, _colour(play, step)))
        else:
            end = next(kill.at for kill in play.kills if kill.lane == "server" and kill.at > step.began)
            parts.append(_bar("interrupted", left, _x(play, end), y + 3, _BAR - 6, INTERRUPTED))
    return parts


def _colour(play: LongRun, step: Step) -> str:
    pids = [life.pid for life in play.lives if life.lane == "server"]
    return SERVERS[pids.index(step.pid) % len(SERVERS)]


def _bar(kind: str, left: float, right: float, y: int, height: int, colour: str) -> str:
    width = max(2.0, right - left)
    return f'<rect class="{kind}" x="{left:.1f}" y="{y}" width="{width:.1f}" height="{height}" fill="{colour}" rx="2"/>'


def _x(play: LongRun, at: float) -> float:
    share = (at - play.began) * 1000 / (play.milliseconds or 1.0)
    return _LEFT + _WIDTH * min(1.0, max(0.0, share))


def _since(play: LongRun, at: float) -> float:
    return round((at - play.began) * 1000, 1)


def _table(play: LongRun) -> Table:
    title = f"longrun: mean arrival delay in minutes, {play.milliseconds / 1000:,.1f} s"
    table = Table("airline", title=title, title_justify="left")
    for heading in ("flights", "mean", "95 % interval"):
        table.add_column(heading, justify="right")
    for row in play.result:
        table.add_row(
            row["airline"], f"{row['flights']:,}", f"{row['mean']:.2f}", f"{row['low']:.2f} to {row['high']:.2f}"
        )
    return table


def _new_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="longrun-", suffix=".svg")
    os.close(handle)
    return Path(name)
