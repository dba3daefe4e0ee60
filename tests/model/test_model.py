"""The adversarial model test: HTTP, NATS and MCP at once, over two bridges, against the ledger's rules.

A failure prints the seed and the last steps of the grant. A seed decides what each step is, and not how the tasks
interleave: so a run that failed is repeated with its seed a few times, or its steps are written as a test by hand.
"""

from __future__ import annotations

import os
from collections import Counter
from time import monotonic

import pytest

from tests.figures import Figure
from tests.model.adversary import Adversary
from tests.model.ledger import Ledger
from tests.model.world import World

pytestmark = pytest.mark.anyio

SEED = int(os.environ.get("BROKER_PLANE_TEST_SEED", "1"))
STUCK_SHARE = 0.01
SHARDS = 10


@pytest.mark.parametrize(
    ("shard", "steps"),
    [(0, 2_000), *(pytest.param(shard, 10_000, marks=pytest.mark.full) for shard in range(1, SHARDS + 1))],
)
async def test_an_adversary_gets_no_more_than_its_grants_are_worth(
    world: World, ledger: Ledger, figure: Figure, shard: int, steps: int
) -> None:
    seed = SEED * 1_000 + shard
    print(f"seed {seed}")
    adversary = Adversary(world, ledger, seed)
    began = monotonic()
    await adversary.run(steps)
    seconds = monotonic() - began
    violations = [str(violation) for violation in adversary.violations]
    said = (
        f"{len(violations)} violations in {adversary.hand.requests:,} requests, {seconds:.0f} s, "
        f"fullest account at {ledger.fullest:.0%} of its bound"
    )
    figure(f"adversarial model, shard {shard}", said, aim="0 violations", met=not violations)
    print(f"steps: {_table(adversary.steps)}\nanswers: {_table(ledger.codes)}\nstuck: {_table(ledger.harness)}")
    assert not violations, "\n\n".join(violations)
    assert sum(ledger.harness.values()) <= STUCK_SHARE * steps, "the harness got stuck: this says nothing of the plane"
    assert ledger.codes["200"] > steps / 20, "too little was delivered for this to say anything"


def _table(counted: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in counted.most_common())
