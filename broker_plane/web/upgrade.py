"""uvicorn's WebSocket protocol without its log lines: they contain the path, and so the grant."""

from __future__ import annotations

import logging
from typing import Any

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol

from broker_plane.plane.redacted_logs import redacted_logger

_log = redacted_logger("broker_plane.web.upgrade")
_log.addFilter(lambda record: record.levelno > logging.INFO)  # whatever level another part of this program sets


class SocketProtocol(WSProtocol):
    """One connection after its upgrade."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _log
