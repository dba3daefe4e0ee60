"""`--help`: commands in groups, each with its whole first sentence, as wide as the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from typer.core import TyperGroup

PANELS = {
    "Run the plane": ("up", "down", "bridge", "config", "doctor"),
    "Bodies": (
        "publish",
        "pull",
        "read",
        "describe",
        "query",
        "ls",
        "delete",
        "watch",
        "upload-grant",
        "upload",
        "chain",
        "levels",
    ),
    "Grants": ("grant", "revoke", "audit"),
    "Feeds": ("feeds", "dlq", "webhooks"),
    "Sessions": ("session",),
    "Protocols": ("protocols", "agents"),
    "MCP clients and servers": ("install", "uninstall", "proxy", "serve", "servers", "exchanges", "mcp", "tasks"),
    "Operate your own NATS": ("env", "accounts", "owners", "keys"),
    "Try it": ("demo", "bench", "docs"),
}
_WHOLE = 1 << 16
_OTHERS = "Commands"


class HelpGroup(TyperGroup):
    """A group of commands whose help is not truncated."""

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write each panel that has commands."""
        shown = {name: command for name in self.list_commands(ctx) if (command := self.get_command(ctx, name))}
        width = max(map(len, shown), default=0)
        for title, names in self._panels(list(shown)):
            with formatter.section(title):
                rows = [(f"{name:{width}}", shown[name].get_short_help_str(_WHOLE)) for name in names]
                formatter.write_dl(rows)

    def _panels(self, names: list[str]) -> Iterator[tuple[str, list[str]]]:
        grouped = PANELS if self.name == "broker-plane" else {}
        for title, members in grouped.items():
            if found := [name for name in members if name in names]:
                yield title, found
        if rest := [name for name in names if not any(name in members for members in grouped.values())]:
            yield _OTHERS, rest
