"""The size of what is sent: nats-server closes the connection of a client that exceeds its `max_payload`."""

from __future__ import annotations

from collections.abc import Mapping

from broker_plane.errors import TooLargeError

_FRAME_BYTES = len("NATS/1.0\r\n\r\n")
_FIELD_BYTES = len(": \r\n")


def check_size(payload: bytes, headers: Mapping[str, str] | None, most: int) -> None:
    """Return if a message may be sent to a server whose `max_payload` is `most`; headers count as payload.

    Raises:
        TooLargeError: it has more bytes; the message names both numbers.
    """
    size = len(payload)
    if headers:
        size += _FRAME_BYTES + len(headers) * _FIELD_BYTES
        for name, value in headers.items():
            size += len(name) + len(value)
    if size > most:
        raise TooLargeError(
            f"The message has {size:,} bytes with its headers; this NATS accepts at most {most:,} (max_payload). "
            "Publish the large part as a body and pass its URL, or raise max_payload of nats-server"
        )
