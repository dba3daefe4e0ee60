"""The picture of a session's history: a lane for each participant, and a mark for each revision."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING
from xml.sax.saxutils import escape

if TYPE_CHECKING:
    from broker_plane import Entry

WIDTH = 1060
LEGEND = (
    "● change, coloured by intent    ○ joined    ◌ left    ◆ note    ★ verdict    ▬ lease    ⚡ conflict    "
    "✔ decided or confirmed    ✕ reverted    ↶ rolled back    ■ closed"
)
INTENTS = {
    "security": "#b3261e",
    "fix": "#c2571a",
    "performance": "#8a6d00",
    "refactor": "#6a4fb3",
    "enrich": "#2e7d32",
    "extract": "#1f6f8b",
    "write": "#24539c",
    "docs": "#3f7a76",
    "format": "#5f6368",
    "review": "#8d4a7d",
}
_SIGNS = {
    "created": "■",
    "joined": "○",
    "left": "◌",
    "operation": "●",
    "reverted": "✕",
    "rolled_back": "↶",
    "proposed": "◇",
    "conflict": "⚡",
    "decided": "✔",
    "noted": "◆",
    "leased": "▬",
    "released": "▭",
    "confirmed": "✔",
    "closed": "■",
}
_LEFT, _RIGHT, _LANE, _HEAD = 150, 24, 26, 30
_DARK, _LIGHT = "#444", "#e4e4e4"


def intents_key(used: Collection[str], top: float) -> list[str]:
    """The elements that say which colour is which intent, for those that were used."""
    shown = [intent for intent in INTENTS if intent in used]
    return [
        f'<text x="{12 + 100 * place}" y="{top:.0f}" fill="{INTENTS[intent]}">● {escape(intent)}</text>'
        for place, intent in enumerate(shown)
    ]


def panel(title: str, entries: Sequence[Entry], top: float) -> tuple[list[str], float]:
    """The elements of one session's picture below `top`, and its height."""
    lanes = {who: place for place, who in enumerate(dict.fromkeys(entry.participant for entry in entries))}
    last = max((entry.revision for entry in entries), default=1)

    def x(revision: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * (revision - 1) / max(1, last - 1)

    def y(who: str) -> float:
        return top + _HEAD + _LANE * lanes[who] + _LANE / 2

    parts = [
        f'<text class="story" x="12" y="{top + 12:.0f}" font-size="13" font-weight="bold">{escape(title)}</text>',
        f'<text x="{WIDTH - _RIGHT}" y="{top + 12:.0f}" text-anchor="end" fill="#555">{last} revisions</text>',
    ]
    for who in lanes:
        parts.append(f'<text class="lane" x="12" y="{y(who) + 4:.1f}">{escape(who.rpartition("-")[0] or who)}</text>')
        parts.append(
            f'<line x1="{_LEFT}" y1="{y(who):.1f}" x2="{WIDTH - _RIGHT}" y2="{y(who):.1f}" stroke="{_LIGHT}"/>'
        )
    places = {entry.revision: (x(entry.revision), y(entry.participant)) for entry in entries}
    for entry in entries:
        parts += _link(entry, places)
    parts += [_mark(entry, *places[entry.revision]) for entry in entries]
    return parts, _HEAD + _LANE * len(lanes)


def _link(entry: Entry, places: dict[int, tuple[float, float]]) -> list[str]:
    """The arc from an entry back to the revision that it brings back, reverts, or has as its base."""
    target, colour, dashes = _target(entry)
    if target not in places or target >= entry.revision - 1:
        return []
    (x1, y1), (x2, y2) = places[entry.revision], places[target]
    bend = min(y1, y2) - min(22.0, 4 + (x1 - x2) / 14)
    return [
        f'<path class="link" d="M{x1:.1f},{y1:.1f} Q{(x1 + x2) / 2:.1f},{bend:.1f} {x2:.1f},{y2:.1f}" fill="none" '
        f'stroke="{colour}" stroke-width="1.2" stroke-opacity="0.55" stroke-dasharray="{dashes}"/>'
    ]


def _target(entry: Entry) -> tuple[int, str, str]:
    if entry.kind == "rolled_back":
        return int(entry.content["to"]), INTENTS["security"], "none"
    if entry.kind == "reverted":
        return int(entry.content["of"]), INTENTS["security"], "2 2"
    if entry.kind == "operation":
        return entry.base, INTENTS.get(entry.intent, _DARK), "3 3"
    return 0, _DARK, "none"


def _mark(entry: Entry, x: float, y: float) -> str:
    changes = entry.kind == "operation"
    colour = INTENTS.get(entry.intent, _DARK) if changes else INTENTS["security"] if entry.kind == "conflict" else _DARK
    sign = "★" if entry.content.get("verdict") else _SIGNS[entry.kind]
    size = 15 if changes else 12
    return (
        f'<text class="{entry.kind}" x="{x:.1f}" y="{y + size / 3:.1f}" text-anchor="middle" font-size="{size}" '
        f'fill="{colour}">{sign}<title>{escape(_title(entry))}</title></text>'
    )


def _title(entry: Entry) -> str:
    said = entry.content.get("message") or entry.content.get("text") or entry.content.get("reason") or ""
    parts = (
        f"revision {entry.revision}",
        entry.participant,
        entry.kind.replace("_", " "),
        entry.intent,
        str(said)[:120],
    )
    return ", ".join(part for part in parts if part)
