"""The foreign protocol `x-framed-tcp`: binary frames over TCP, each with its length and the CRC-32 of its payload.

Version 2 has another header, counts little-endian, gives lengths as varints and puts the CRC before the payload.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from contextlib import suppress
from socketserver import StreamRequestHandler, ThreadingTCPServer

from .levels_rows import made_readings
from .levels_state import Api, State

MAGIC = b"XF"
NAME = b"gauges/7"
FRAME_ROWS = 300
_SECONDS = 20.0
_PIECE = 1_000
"""Bytes of one write: a frame arrives in several pieces."""
_LAYOUT_2 = (
    b"This server speaks version 2. Request: as before, with version 2. Header: magic 2 bytes, version 1 byte, flags 1 "
    b"byte, record count 8 bytes. Frame: payload length as an unsigned LEB128 varint, CRC-32 of the payload 4 bytes, "
    b"payload. Length 0 (its CRC follows, too) ends the stream. All numbers are little-endian, also those of records"
)


class FramesHandler(StreamRequestHandler):
    """Answers one request with all frames, and closes the connection."""

    timeout = _SECONDS
    disable_nagle_algorithm = True
    server: FramesServer

    def handle(self) -> None:
        state = self.server.state
        magic, version, length = struct.unpack(">2sBB", self.rfile.read(4).ljust(4, b"\0"))
        name = self.rfile.read(length)
        if magic != MAGIC or name != NAME:
            self.wfile.write(struct.pack(">2sBH", MAGIC, 0, 15) + b"unknown request")
        elif version != state.api:
            text = _LAYOUT_2 if state.api == 2 else b"This server speaks version 1"
            self.wfile.write(struct.pack(">2sBH", MAGIC, state.api, len(text)) + text)
        else:
            whole = b"".join(framed(state.rows, state.api))
            with suppress(ConnectionError):  # code that dislikes a frame goes away
                for start in range(0, len(whole), _PIECE):
                    self.wfile.write(whole[start : start + _PIECE])


class FramesServer(ThreadingTCPServer):
    """Serves the readings as frames."""

    allow_reuse_address = True
    daemon_threads = True

    def __init__(self, port: int, state: State) -> None:
        self.state = state
        super().__init__(("127.0.0.1", port), FramesHandler)


def framed(rows: int, api: Api) -> Iterator[bytes]:
    """The header, the frames and the end."""
    yield struct.pack("<2sBBQ", MAGIC, 2, 0, rows) if api == 2 else struct.pack(">2sBI", MAGIC, 1, rows)
    readings = made_readings(rows)
    order = "<" if api == 2 else ">"
    for start in range(0, rows, FRAME_ROWS):
        payload = b"".join(struct.pack(f"{order}HIi", *each) for each in readings[start : start + FRAME_ROWS])
        yield _frame(payload, api)
    yield _frame(b"", api)


def _frame(payload: bytes, api: Api) -> bytes:
    if api == 2:
        return _varint(len(payload)) + struct.pack("<I", zlib.crc32(payload)) + payload
    return struct.pack(">I", len(payload)) + payload + struct.pack(">I", zlib.crc32(payload))


def _varint(value: int) -> bytes:
    """Unsigned LEB128: seven bits a byte, the lowest first; the top bit says that another byte follows."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)
