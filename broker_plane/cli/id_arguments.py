"""Commands with ids as arguments: one id in 64 starts with a dash and must not be parsed as an option."""

from __future__ import annotations

import re
from typing import Any

from typer.core import TyperCommand

_ID = re.compile(r"-[A-Za-z0-9_-]{21}\Z")


class IdCommand(TyperCommand):
    """A command whose ids may start with a dash. None of its options is as long as an id."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse `args` with the ids moved behind all options."""
        end = args.index("--") if "--" in args else len(args)
        ids = [word for word in args[:end] if _ID.match(word)]
        others = [word for word in args[:end] if not _ID.match(word)]
        return super().parse_args(ctx, [*others, "--", *ids, *args[end + 1 :]] if ids else args)
