"""The model: what an adversary may get under each counter of a grant, kept from what really arrived.

**The unit** is one delivery's worth: everything that the grant of the request shows, once. What arrived is counted in
it: bytes over size where stored bytes leave as they are, cells over cells shown of everything else.

**The bound.** A counter of n uses pays for the bytes of 3n deliveries, complete or not (decision 0003). Everything is
paid for before it is sent, and a claim reserves what it may send, so the bound is 3n itself, whatever is under way at
once. Over HTTP what never left the bridge's host is given back. What was received cannot be more than what was sent, so
a count on the receiving side can prove a violation and never invent one.

**Completed deliveries**: the distinct leases whose success was acknowledged are n at most.

**The end.** After a grant was refused as *used*, no request that begins later gets anything of the body, but for one
that goes on under a lease that the plane gave for this very grant and that was never settled: a use that was in flight.
After *revoked* and *expired* there is no exception. Revocation has a second to reach every bridge (docs of
`Plane.revoke`).

**Leases.** A lease is named with success only by the holder of the grant for which the plane gave it, and is settled
once: *confirmed* or *released*, and never both.
"""

from __future__ import annotations

import json
from collections import Counter, defaultdict, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import monotonic
from typing import Any, NoReturn

from tests.model.bodies import Cell, cells_in
from tests.model.holder import Held

CLAIMS_A_USE = 3
REVOKED_SECONDS = 2.0
_SHOWN = 60
_ROUNDING = 1e-6

USED, REVOKED, EXPIRED = "grant_used", "grant_revoked", "grant_expired"


class Violation(AssertionError):
    """The plane did what the rules forbid."""


class HarnessError(Exception):
    """The test itself got stuck: a time-out, or a connection that the other side ended without need."""


def bound(uses: int) -> float:
    """What all that arrives under a counter of `uses` stays below, in deliveries' worth; see the top of this file."""
    return float(CLAIMS_A_USE * uses)


@dataclass
class Lease:
    """A lease that the plane gave, for the grant whose text is `text`."""

    text: str
    said: str = ""
    """`confirmed` or `released`, once the plane has said so."""
    settled: float = float("inf")
    """When the plane said so."""


_NOBODYS = Lease("")


@dataclass
class Account:
    """One counter."""

    uses: int
    received: float = 0.0
    completed: set[str] = field(default_factory=set)


class Ledger:
    """Every answer of the plane comes in here, and is held against the rules."""

    def __init__(self) -> None:
        self.accounts: dict[str, Account] = {}
        self.leases: dict[str, Lease] = {}
        self.codes: Counter[str] = Counter()
        self.harness: Counter[str] = Counter()
        self._ended: dict[str, tuple[str, float]] = {}
        self._trace: defaultdict[str, deque[str]] = defaultdict(lambda: deque(maxlen=_SHOWN))

    def note(self, held: Held, step: str, **fields: Any) -> None:
        """A line of what is printed where something about this grant's root fails."""
        said = " ".join(f"{name}={value!r}" for name, value in fields.items())
        self._trace[held.root].append(f"{monotonic():.3f} {step} …{held.text[-8:]} {said}")

    def gave(self, held: Held, lease: str) -> None:
        """The plane gave `lease` for `held`; one that was released may be given again, to the same pull."""
        known = self.leases.setdefault(lease, Lease(held.text)) if lease else None
        if known is not None and known.text == held.text and known.said == "released":
            self.leases[lease] = Lease(held.text)

    def refused(self, held: Held, code: str) -> None:
        """The plane answered `code`."""
        self.codes[code] += 1
        if code == REVOKED:
            self.revoked(held)
        elif code in (USED, EXPIRED):
            self._ended.setdefault(held.text, (code, monotonic()))
            if code == USED and len(held.counters) == 1:
                self._ended.setdefault(next(iter(held.counters)), (code, monotonic()))

    def revoked(self, held: Held) -> None:
        self._ended.setdefault(f"revoked {held.root}", (REVOKED, monotonic() + REVOKED_SECONDS))

    def ended(self, held: Held) -> bool:
        """Whether the grant was refused as used, revoked or expired."""
        return any(name in self._ended for name in (held.text, f"revoked {held.root}", *held.counters))

    def received(self, held: Held, data: bytes, began: float, *, stored: bool, lease: str = "", way: str) -> float:
        """`data` of the body arrived for a request that `began` then and named `lease`. Its worth."""
        cells = [] if stored else cells_in(data)
        self._check_scope(held, cells)
        worth = worth_of(held, data, cells, stored=stored)
        self.note(held, f"{way} got", worth=round(worth, 4), bytes=len(data), lease=lease)
        if not worth:
            return 0.0
        self._check_end(held, began, lease, way)
        for name, uses in held.counters.items():
            account = self._account(name, uses)
            account.received += worth
            if account.received > bound(account.uses) + _ROUNDING:
                self.fail(
                    held,
                    f"{account.received:.2f} deliveries' worth arrived under a counter of {account.uses} uses; "
                    f"the bound is {bound(account.uses):.2f}",
                )
        return worth

    def went_on(self, held: Held, lease: str, began: float, way: str) -> None:
        """A request that named `lease` was answered, and not refused."""
        if held.counted and not self._in_flight(held, lease, began):
            known = self.leases.get(lease, _NOBODYS)
            whose = f"was {known.said} before" if known.text == held.text else "is another's or nobody's"
            self.fail(held, f"{way}: the lease {lease!r} {whose}, and was answered")

    def said(self, held: Held, status: str, lease: str, way: str) -> None:
        """The plane said that the delivery of `lease` is `confirmed` or `released`."""
        self.note(held, f"{way} said", status=status, lease=lease)
        if not held.counted or status not in ("confirmed", "released"):
            return
        known = self.leases.get(lease, _NOBODYS)
        if known.text != held.text:
            self.fail(held, f"{way}: {status}, and {lease!r} is no lease of this grant")
        if known.said and known.said != status:
            self.fail(held, f"{way}: {status}, and the same lease was {known.said} before")
        known.said, known.settled = status, min(known.settled, monotonic())
        if status == "confirmed":
            self.completed(held, lease)

    def completed(self, held: Held, name: str) -> None:
        """One delivery was acknowledged as complete; `name` is its lease, or a word for one that has none to show."""
        for counter, uses in held.counters.items():
            account = self._account(counter, uses)
            account.completed.add(name)
            if len(account.completed) > account.uses:
                self.fail(held, f"{len(account.completed)} completed deliveries under a counter of {account.uses} uses")

    def received_under(self, held: Held) -> float:
        """Deliveries' worth that arrived under the innermost counter of `held`."""
        *_, name = held.counters
        return self._account(name, held.counters[name]).received

    def fail(self, held: Held, why: str) -> NoReturn:
        """Raise a Violation with the steps that touched the grant, as lines that can be replayed by hand."""
        steps = "\n".join(self._trace[held.root])
        about = json.dumps({"grant": held.text, "counters": held.counters, "columns": held.columns}, indent=1)
        raise Violation(f"{why}\n{about}\nrows {held.rows} of {held.body}\nthe last steps:\n{steps}")

    @property
    def fullest(self) -> float:
        """How far the fullest account is, 1.0 being its bound."""
        return max((account.received / bound(account.uses) for account in self.accounts.values()), default=0.0)

    def _check_scope(self, held: Held, cells: Sequence[Cell]) -> None:
        for cell in cells:
            if cell.body not in held.names or cell.column not in held.columns or cell.row not in held.rows:
                self.fail(held, f"{cell} is outside the scope of the grant")

    def _check_end(self, held: Held, began: float, lease: str, way: str) -> None:
        for name in (held.text, f"revoked {held.root}", *held.counters):
            code, ended = self._ended.get(name, ("", float("inf")))
            if began <= ended:
                continue
            if code != USED or not self._in_flight(held, lease, began):
                self.fail(held, f"{way}: delivered after the grant was answered {code}")

    def _in_flight(self, held: Held, lease: str, began: float) -> bool:
        known = self.leases.get(lease, _NOBODYS)
        return known.text == held.text and began <= known.settled

    def _account(self, name: str, uses: int) -> Account:
        account = self.accounts.setdefault(name, Account(uses))
        account.uses = max(account.uses, uses)
        return account


def worth_of(held: Held, data: bytes, cells: Sequence[Cell], *, stored: bool) -> float:
    """Deliveries' worth of what arrived."""
    if stored or held.body.kind == "bytes":
        return len(data) / held.body.size
    shown = len(held.columns) * len(held.rows)
    return len(cells) / shown if shown else 0.0
