"""How much one transfer may take, whoever carries it. Pure."""

from __future__ import annotations

from broker_plane.errors import TooLargeError, TransferInterruptedError

MOST_MESSAGE = 8 << 20
"""Bytes of one event, one message, one line."""

_MOST_IDLE = 1 << 20


class Allowance:
    """What is announced bounds a transfer: by the descriptor (`size_hint`), else by the answer to it (`announce`).

    What announces more than `sized` is refused at once; what announces nothing has at most `unsized`.
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

    def unannounced(self) -> Allowance:
        """The same for what nobody announces."""
        return Allowance(self._sized, self._unsized)

    def announce(self, size: int) -> None:
        """The transfer says that it has `size` bytes; the first word counts.

        Raises:
            TooLargeError: it has too many.
        """
        if size > self._sized:
            raise TooLargeError(f"{size} bytes are announced; the most is {self._sized} (BROKER_PLANE_MAX_BODY_BYTES)")
        if self._announced is None:
            self._announced = size

    def check(self, size: int) -> None:
        """Raises TooLargeError: `size` bytes are more than may come."""
        if self._announced is not None and size > self._announced:
            raise TooLargeError(f"More came than the {self._announced} bytes that were announced")
        if self._announced is None and size > self._unsized:
            raise TooLargeError(
                f"More than {self._unsized} bytes came, and nobody said how many there are. Ask for a descriptor with "
                "size_hint, or raise BROKER_PLANE_MAX_UNSIZED_BYTES"
            )

    def spend(self, size: int) -> None:
        """`size` bytes came that are none of the body: comments, empty messages, compressed nothing.

        Raises:
            TransferInterruptedError: nothing else has come for too long.
        """
        self._idle += size
        if self._idle > _MOST_IDLE:
            raise TransferInterruptedError(
                "The endpoint sends much, and nothing of the body; ask for another descriptor"
            )

    def gain(self) -> None:
        """Something of the body came."""
        self._idle = 0
