"""Options and commands of development versions: using one is a usage error that names the new one."""

from __future__ import annotations

from typing import Any

COMMANDS = {("dlq", "list"): "dlq ls"}
OPTIONS = {
    ("up", "--nats"): "--nats-url",
    ("up", "--data"): "--data-dir",
    ("publish", "--collect"): "--delete-when-used",
    ("grant", "--bytes"): "--max-bytes",
    ("upload-grant", "--bytes"): "--max-bytes",
    ("upload-grant", "--within"): "--complete-within",
    ("upload", "--type"): "--media-type",
    ("proxy", "--table"): "--shape, as in --shape TOOL:table",
}


def hint_for(error: Any) -> str:
    """What to write instead of the unknown option or command of a usage error; empty if it never existed."""
    command = str(getattr(getattr(error, "ctx", None), "info_name", ""))
    option = str(getattr(error, "option_name", ""))
    if (command, option) in OPTIONS:
        return f"{option} was renamed to {OPTIONS[command, option]}"
    for (group, old), new in COMMANDS.items():
        if command == group and f"'{old}'" in str(getattr(error, "message", "")):
            return f"{group} {old} was renamed to {new}"
    return ""
