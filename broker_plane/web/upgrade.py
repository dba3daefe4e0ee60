"""uvicorn's WebSocket protocol without its log lines, which contain the grant, and with a Socket for each reader."""

from __future__ import annotations

import logging
from typing import Any, cast

from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto.events import CloseConnection

from broker_plane.plane.redacted_logs import redacted_logger
from broker_plane.web.sockets import EXTENSION, Socket

_log = redacted_logger("broker_plane.web.upgrade")
_log.addFilter(lambda record: record.levelno > logging.INFO)  # whatever level another part of this program sets


class SocketProtocol(WSProtocol):
    """One connection after its upgrade."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.logger = _log
        self._socket = Socket(self)

    def handle_connect(self, event: Any) -> None:
        super().handle_connect(event)
        cast("dict[str, Any]", self.scope["extensions"])[EXTENSION] = self._socket

    def pause_writing(self) -> None:
        super().pause_writing()
        self._socket.pause()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._socket.resume()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._socket.resume()

    def keepalive_timeout(self) -> None:
        """End a connection whose reader answers no ping: with unsent bytes, closing alone would wait for it forever."""
        super().keepalive_timeout()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": 1006, "reason": ""})
        self.loop.call_later(self.close_timeout, self.transport.abort)

    @property
    def is_open(self) -> bool:
        """As web/sockets.py."""
        return self.handshake_complete and not (self.close_sent or self.disconnected or self.transport.is_closing())

    def limit_messages(self, most_bytes: int) -> None:
        """As web/sockets.py."""
        self.buffer.max_length = most_bytes

    def end(self, code: int, reason: str) -> None:
        """As web/sockets.py."""
        if not self.is_open:
            return
        self.close_sent = True
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        self.transport.write(self.conn.send(CloseConnection(code=code, reason=reason)))
        if self.read_paused:
            self.read_paused = False
            self.transport.resume_reading()
        self.close_timer = self.loop.call_later(self.close_timeout, self.transport.close)
        # Not canceled by an answer: a reader that answers and reads nothing would keep what is unsent forever.
        self.loop.call_later(self.close_timeout, self.transport.abort)
