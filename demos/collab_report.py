"""How `collab` ends: a table, and a picture of each session's history by participant; one JSON object for programs."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

import orjson
from rich import box as boxes
from rich.console import Console
from rich.table import Table

from .collab_history import LEGEND, WIDTH, intents_key, panel
from .collab_stage import Played

_TOP, _GAP, _LEGEND = 44, 26, 46


def report(played: list[Played], *, json: bool, output: str) -> None:
    """Write the picture, and print the report."""
    picture = Path(output) if output else _new_file()
    picture.write_text(svg(played), encoding="utf-8")
    verified = not any(each.problems for each in played)
    if json:
        stories = [each.as_json() for each in played]
        print(orjson.dumps({"verified": verified, "stories": stories, "picture": str(picture)}).decode())
        return
    console = Console(highlight=False)
    console.print(_table(played))
    for each in played:
        for problem in each.problems:
            console.print(f"[bold red]{escape(each.story.name)}: {escape(problem)}[/]")
    proof = "Every session ended as it must" if verified else "[bold red]NOT verified[/]"
    console.print(f"{proof}. Picture: {picture}", soft_wrap=True)


def svg(played: list[Played]) -> str:
    """Return one panel for each story: a lane for each participant, and a mark for each revision."""
    parts: list[str] = []
    y: float = _TOP
    for each in played:
        drawn, height = panel(each.story.title, each.told.entries, y)
        parts += drawn
        y += height + _GAP
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y + _LEGEND}" font-family="sans-serif" '
        'font-size="11">',
        '<rect width="100%" height="100%" fill="white"/>',
        f'<text x="12" y="22" font-size="15">{len(played)} sessions, revision by revision</text>',
    ]
    parts.append(f'<text x="12" y="{y + 8}" fill="#555">{escape(LEGEND)}</text>')
    used = {entry.intent for each in played for entry in each.told.entries if entry.kind == "operation"}
    return "\n".join([*head, *parts, *intents_key(used, y + 28), "</svg>", ""])


def _table(played: list[Played]) -> Table:
    table = Table(title="collab", title_justify="left", box=boxes.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    for heading in ("story", "artifact"):
        table.add_column(heading, no_wrap=True)
    for heading in ("revisions", "edits", "notes", "conflicts", "ms"):
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for each in played:
        kinds = [entry.kind for entry in each.told.entries]
        counts = (len(kinds), kinds.count("operation"), kinds.count("noted"), kinds.count("conflict"))
        end = "WRONG" if each.problems else "by page" if each.through_page else "verified"
        cells = (each.story.name, f"{each.story.kind}, {each.story.sync}")
        table.add_row(*cells, *(str(count) for count in counts), f"{each.ms:,.0f}", end)
    return table


def _new_file() -> Path:
    handle, name = tempfile.mkstemp(prefix="collab-", suffix=".svg")
    os.close(handle)
    return Path(name)
