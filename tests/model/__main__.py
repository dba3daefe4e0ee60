"""The adversary by hand: what it finds, by kind, and the steps of one of each.

python -m tests.model [--steps 10000] [--seed 1] [--show "part of a violation's first line"]
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path

from tests.model.adversary import Adversary
from tests.model.ledger import Ledger
from tests.model.world import world


async def run(steps: int, seed: int, show: str) -> int:
    ledger = Ledger()
    with tempfile.TemporaryDirectory() as root:
        async with world(Path(root)) as made:
            adversary = Adversary(made, ledger, seed, most=sys.maxsize)
            await adversary.run(steps)
    found = [str(violation) for violation in adversary.violations]
    for kind, count in Counter(re.sub(r"'[^']*'|[0-9.]+", "_", each.splitlines()[0]) for each in found).most_common():
        print(f"{count:6} {kind}")
    print(f"{adversary.hand.requests} requests, {len(found)} violations, stuck: {dict(ledger.harness)}")
    print(next((each for each in found if show and show in each.splitlines()[0]), ""))
    return bool(found)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.model", description=__doc__)
    parser.add_argument("--steps", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--show", default="")
    options = parser.parse_args()
    return asyncio.run(run(options.steps, options.seed, options.show))


if __name__ == "__main__":
    sys.exit(main())
