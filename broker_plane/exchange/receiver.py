"""The caller's side of an exchange: its messages in order, each once, however they arrive. Pure."""

from __future__ import annotations

from broker_plane.exchange.messages import Said

WINDOW = 256
WINDOW_BYTES = 16 << 20


class Received:
    """The messages of one exchange. Early ones wait, within a bounded window; the caller requests the others again."""

    def __init__(self, after: int = 0, *, window: int = WINDOW, window_bytes: int = WINDOW_BYTES) -> None:
        """The caller has the messages up to number `after`."""
        self.after = after
        """The number of the last message that was handed on: a request for what is missing names it."""
        self.ended = False
        """Whether the answer was handed on."""
        self._window = window
        self._window_bytes = window_bytes
        self._early: dict[int, Said] = {}
        self._early_bytes = 0

    @property
    def gap(self) -> bool:
        """Whether a message waits for an earlier one, which is missing."""
        return bool(self._early)

    def has(self, seq: int) -> bool:
        """Whether the message with this number was handed on, or waits for earlier ones."""
        return self.ended or seq <= self.after or seq in self._early

    def take(self, said: Said) -> list[Said]:
        """What can be handed on now that `said` has arrived, in order; repeated messages are dropped."""
        if self.ended or said.seq <= self.after or said.seq in self._early:
            return []
        if said.seq > self.after + 1:
            if said.seq <= self.after + self._window and self._early_bytes + len(said.line) <= self._window_bytes:
                self._early[said.seq] = said
                self._early_bytes += len(said.line)
            return []
        ready = [said]
        while not ready[-1].last and (following := self._early.pop(ready[-1].seq + 1, None)) is not None:
            self._early_bytes -= len(following.line)
            ready.append(following)
        self.after, self.ended = ready[-1].seq, ready[-1].last
        if self.ended:
            self._early, self._early_bytes = {}, 0
        return ready
