"""The HTTP client's own log lines name every URL that it asks for, and ours hold grants: they are taken out."""

from __future__ import annotations

import logging
import re

_GRANT = re.compile(r"(/s2sp/(?:data|upload)/)[^/?#\s\"']+")


class _WithoutGrants(logging.Filter):
    """Rewrites what a line is made of, whoever formats it later."""

    def filter(self, record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if "/s2sp/" in text:
            record.msg, record.args = _GRANT.sub(r"\1…", text), ()
        return True


def quiet(logger: str) -> None:
    """No grant is in what `logger` says from now on; a second call changes nothing."""
    found = logging.getLogger(logger)
    if not any(isinstance(known, _WithoutGrants) for known in found.filters):
        found.addFilter(_WithoutGrants())
