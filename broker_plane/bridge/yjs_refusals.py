"""When the sockets of Yjs clients close after a refusal, so that none repeats a refused change in a hot loop. Pure.

A client keeps a change that was refused, and sends it again with every sync step 2. So a refusal closes the socket with
a code from 4400 to 4499 if the change can never be accepted: y-websocket 3 does not reconnect after those, and its
document has to be discarded. Other codes mean that a later attempt may succeed. Because older clients reconnect several
times a second whatever the code, the socket of a participant that is refused again and again is closed later each time;
until then it receives changes, and its messages are ignored.
"""

from __future__ import annotations

from collections import OrderedDict

_FORGIVEN_SECONDS = 90.0
_LONGEST_SECONDS = 30.0
_MOST_REMEMBERED = 4096


class Refusals:
    """The recent refusals of the participants of a session."""

    def __init__(self) -> None:
        self._last: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def next_delay(self, participant: str, now: float) -> float:
        """Seconds until the socket of `participant`, which was refused at `now`, closes: 0, then 1, 2, 4, up to 30."""
        at, times = self._last.pop(participant, (now, 0))
        if now - at > _FORGIVEN_SECONDS:
            times = 0
        self._last[participant] = now, min(times + 1, 10)
        while len(self._last) > _MOST_REMEMBERED:
            self._last.popitem(last=False)
        return min(_LONGEST_SECONDS, 2.0 ** (times - 1)) if times else 0.0
