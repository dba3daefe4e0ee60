"""Grants taken out of log text. Pure, and without imports of this package: other rooms' logs use it too."""

from __future__ import annotations

import re

# A subject's token ends at a dot, a path's segment does not.
_SECRET = re.compile(r"""(bp\.(?:pull|confirm)\.)[^\s."'\\]+|(/s2sp/data/)[^\s/?#"'\\]+""")


def redact(text: str) -> str:
    """Return `text` with each grant in a subject or in a path replaced by `…`.

    nats-server logs a refused publish with its whole subject, `bp.pull.<grant>.<asker>` (rulings, point 7);
    HTTP servers log the path, `/s2sp/data/<grant>`.
    """
    return _SECRET.sub(r"\1\2…", text)
