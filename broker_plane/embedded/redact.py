"""Grants taken out of log text. Pure, and without imports of this package: other rooms' logs use it too."""

from __future__ import annotations

import re

# A subject's token ends at a dot, a path's segment does not. The last one is a grant wherever it stands, and a JWT's
# parts; a public nkey (56 characters) and a SHA-256 (64) are shorter.
_SECRET = re.compile(
    r"""(bp\.(?:pull|confirm)\.)[^\s."'\\]+|(/s2sp/(?:data|upload)/)[^\s/?#"'\\]+|(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{65,}"""
)


def redact(text: str) -> str:
    """Return `text` with each grant in it replaced by `…`.

    nats-server logs a refused publish with its whole subject, `bp.pull.<grant>.<asker>` (rulings, point 7), and with
    it what the client calls itself; a refused user by its name; a refused queue and a refused reply. HTTP servers log
    the path, `/s2sp/data/<grant>`.
    """
    return _SECRET.sub(r"\1\2…", text)
