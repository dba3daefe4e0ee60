"""The number of bytes that one transfer may receive, over any protocol. Pure."""

from __future__ import annotations

from broker_plane.errors import TooLargeError, TransferInterruptedError

MAX_MESSAGE_BYTES = 8 << 20
"""Maximum number of bytes of one event, one message or one line."""

_MAX_IDLE_BYTES = 1 << 20


class Allowance:
    """A transfer is limited to the size announced by the descriptor (`size_hint`), else by the response (`announce`).

    An announced size above `sized` is refused at once; a transfer that announces no size is limited to `unsized`.
    """

    def __init__(self, sized: int, unsized: int, announced: int | None = None) -> None:
        self._sized = sized
        self._unsized = min(sized, unsized)
        self._announced: int | None = None
        self._idle = 0
        if announced is not None:
            self.announce(announced)

    @property
    def announced(self) -> int | None:
        return self._announced

    @property
    def limit(self) -> int:
        """The number of bytes that may arrive."""
        return self._unsized if self._announced is None else self._announced

    def unannounced(self) -> Allowance:
        """The same limits for a transfer whose size nobody announces."""
        return Allowance(self._sized, self._unsized)

    def announce(self, size: int) -> None:
        """Note an announced size; the first announcement counts.

        Raises:
            TooLargeError: it exceeds the limit.
        """
        if size > self._sized:
            raise TooLargeError(f"{size} bytes are announced; the limit is {self._sized} (BROKER_PLANE_MAX_BODY_BYTES)")
        if self._announced is None:
            self._announced = size

    def check(self, size: int) -> None:
        """Raise TooLargeError if `size` bytes exceed the limit."""
        if self._announced is not None and size > self._announced:
            raise TooLargeError(f"The endpoint sent more than the {self._announced} bytes that were announced")
        if self._announced is None and size > self._unsized:
            raise TooLargeError(
                f"The endpoint sent more than {self._unsized} bytes without announcing a size. Request a descriptor "
                "with size_hint, or raise BROKER_PLANE_MAX_UNSIZED_BYTES"
            )

    def spend(self, size: int) -> None:
        """Count `size` received bytes that are not part of the body, such as comments and empty messages.

        Raises:
            TransferInterruptedError: too many of them arrived in a row.
        """
        self._idle += size
        if self._idle > _MAX_IDLE_BYTES:
            raise TransferInterruptedError(
                "The endpoint sends data but nothing of the body; request another descriptor"
            )

    def gain(self) -> None:
        """Note that a part of the body arrived."""
        self._idle = 0
