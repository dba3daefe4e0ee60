"""What a foreign server of `levels` serves; a signal changes its API while it runs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Api = Literal[1, 2]


@dataclass(slots=True)
class State:
    """`api` is the version that the server speaks now; `secret` is the key or token that it expects."""

    rows: int
    secret: str = field(repr=False)
    api: Api = 1
