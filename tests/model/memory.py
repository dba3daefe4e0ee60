"""Everything that the adversary has ever seen, and what it makes up from it."""

from __future__ import annotations

import random
from collections import defaultdict, deque
from typing import Any

from tests.model.hand import lease_of
from tests.model.holder import Held
from tests.model.nats_way import new_number

_KEPT = 400
_LARGE = 10**18 - 1


class Memory:
    """Leases, cursors, numbers, places, tags and offers, each with the grant that it was seen with."""

    def __init__(self) -> None:
        self.leases: deque[str] = deque(maxlen=_KEPT)
        self.cursors: deque[str] = deque(maxlen=_KEPT)
        self.etags: deque[str] = deque(maxlen=_KEPT)
        self.offers: deque[Held] = deque(maxlen=_KEPT)
        self.places: deque[int] = deque([0], maxlen=_KEPT)
        self.confirmations: deque[dict[str, Any]] = deque(maxlen=_KEPT)
        self.own_leases: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=8))
        self.own_cursors: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=8))
        self.own_places: defaultdict[str, deque[int]] = defaultdict(lambda: deque(maxlen=8))
        self.own_numbers: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=8))

    def saw_lease(self, held: Held, lease: str) -> None:
        if lease:
            self.leases.append(lease)
            self.own_leases[held.text].append(lease)

    def saw_cursor(self, held: Held, cursor: str) -> None:
        if cursor:
            self.cursors.append(cursor)
            self.own_cursors[held.text].append(cursor)
            self.saw_lease(held, lease_of(cursor))

    def saw_places(self, held: Held, places: list[int]) -> None:
        self.places.extend(places[-1:])
        self.own_places[held.text].extend(places[-2:])

    def lease(self, rng: random.Random, held: Held) -> str:
        """A lease to name: mostly this grant's own, else somebody's, a changed one, an invented one, or none."""
        chance = rng.random()
        own = self.own_leases[held.text]
        if chance < 0.5 and own:
            return rng.choice(own)
        if chance < 0.75 and self.leases:
            return rng.choice(self.leases)
        if chance < 0.85 and self.leases:
            return changed(rng, rng.choice(self.leases))
        return rng.choice(["", rng.randbytes(9).hex(), "0", "f" * 64])

    def cursor(self, rng: random.Random, held: Held) -> str:
        """A cursor to go on at: its own, another's, one with members of others, or one made up."""
        chance = rng.random()
        own = self.own_cursors[held.text]
        if chance < 0.5 and own:
            return rng.choice(own)
        if chance < 0.6 or not self.cursors:
            return ""
        if chance < 0.7:
            return rng.choice(self.cursors)
        number, lease, done, frame, row = rng.choice(own or self.cursors).split(".")
        if rng.random() < 0.5:
            lease = self.lease(rng, held)
        if rng.random() < 0.5:
            total = len(held.rows) or held.body.size
            done = str(rng.choice([0, 1, total // 2, max(0, total - 1), total, total + 1, _LARGE]))
            row = rng.choice([row, done, "0"])
        if rng.random() < 0.2:
            number = rng.choice([new_number(rng), rng.choice(self.cursors).split(".")[0]])
        if rng.random() < 0.1:
            frame = str(rng.choice([0, 1, 7, _LARGE]))
        return f"{number}.{lease}.{done}.{frame}.{row}"

    def place(self, rng: random.Random, held: Held) -> int:
        """What a request over NATS says that it has."""
        own = self.own_places[held.text]
        if own and rng.random() < 0.6:
            return rng.choice(own) - rng.choice([0, 0, 1, 3])
        return rng.choice([-1, 0, 1, rng.choice(self.places), rng.randrange(1 << 40)])

    def number(self, rng: random.Random, held: Held) -> str:
        """The number of a pull: a fresh one, or one that this grant was pulled with before."""
        own = self.own_numbers[held.text]
        if own and rng.random() < 0.4:
            return rng.choice(own)
        own.append(new_number(rng))
        return own[-1]


def changed(rng: random.Random, lease: str) -> str:
    """`lease` with a mistake."""
    place = rng.randrange(len(lease))
    return rng.choice(
        [
            lease.upper(),
            lease[:-1],
            lease + "0",
            lease[::-1],
            lease[:place] + rng.choice("0123456789abcdef") + lease[place + 1 :],
        ]
    )


def report(rng: random.Random, held: Held) -> dict[str, Any]:
    """Members of a confirmation: true ones, lies, and ones of the wrong type."""
    fields: dict[str, Any] = {}
    if rng.random() < 0.3:
        fields["checksum"] = rng.choice([held.body.digest, f"sha256:{held.body.digest}", "0" * 64, "", "x" * 300])
    if rng.random() < 0.3:
        fields["bytes_received"] = rng.choice([0, 1, held.body.size, held.body.size - 1, 2**62, -1, 1.5, True, "9"])
    if rng.random() < 0.3:
        fields["sent"] = rng.choice([0, 0.0, -1, 0.5, 1, float("nan"), float("inf"), "0", True, None, []])
    return fields
