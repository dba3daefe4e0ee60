"""How deep an update of Yjs nests what it inserts, found without applying it. Pure.

Documents are read, encoded and deleted by recursion, in yrs as in browsers, so one with thousands of levels would end
the process.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict

from broker_plane.wire.nesting import levels
from broker_plane.wire.yjs_updates import Id, Struct, Update

_CONTAINERS = {dict, list}


def depth(value: object) -> int:
    """The levels of objects and lists in a JSON value; 0 for a number or a text."""
    return sum(1 for _, kinds in levels([value]) if kinds & _CONTAINERS)


def added_levels(update: Update) -> int:
    """The most levels that an update adds below a shared type that it does not bring itself.

    Its structs must not depend on each other in a circle; `yjs_contents` refuses those.
    """
    if not any(each.kind in ("type", "any") for each in update.structs):
        return 0
    return _Nesting(update).deepest()


class _Nesting:
    def __init__(self, update: Update) -> None:
        self._structs = update.structs
        self._clocks: defaultdict[int, list[int]] = defaultdict(list)
        self._by_client: defaultdict[int, list[Struct]] = defaultdict(list)
        for each in update.structs:
            self._clocks[each.client].append(each.clock)
            self._by_client[each.client].append(each)
        self._containers: dict[Id, Struct | None] = {}
        self._depths: dict[Id, int] = {}

    def deepest(self) -> int:
        return max((self._depth(self._container(each)) + self._own_levels(each) for each in self._structs), default=0)

    def _own_levels(self, struct: Struct) -> int:
        if struct.kind == "type":
            return 1
        return depth(struct.content) - 1 if struct.kind == "any" else 0

    def _depth(self, struct: Struct | None) -> int:
        """The levels down to this shared type of the update, itself included; 0 for one outside of the update."""
        trail: list[Struct] = []
        while struct is not None and (struct.client, struct.clock) not in self._depths:
            trail.append(struct)
            struct = self._container(struct)
        found = self._depths[struct.client, struct.clock] if struct is not None else 0
        for each in reversed(trail):
            found += 1
            self._depths[each.client, each.clock] = found
        return found

    def _container(self, struct: Struct) -> Struct | None:
        """The shared type of this update that a struct is in; None if it is in another one."""
        trail: list[Struct] = []
        found: Struct | None = None
        while True:
            key = struct.client, struct.clock
            if key in self._containers:
                found = self._containers[key]
                break
            trail.append(struct)
            if struct.parent is not None:
                found = self._find(struct.parent)
                break
            neighbour = struct.origin or struct.right_origin
            following = self._find(neighbour) if neighbour is not None else None
            if following is None:
                break
            struct = following
        for each in trail:
            self._containers[each.client, each.clock] = found
        return found

    def _find(self, wanted: Id) -> Struct | None:
        client, clock = wanted
        index = bisect_right(self._clocks.get(client, ()), clock) - 1
        if index < 0:
            return None
        struct = self._by_client[client][index]
        return struct if clock < struct.clock + struct.length else None
