"""kill -9 of the server, of the caller and of nats-server during one call: one answer, in order, and one effect.

The tool is idempotent by key. The caller keeps its key, and after its own death asks again under it.
"""

from __future__ import annotations

import os
import random
from functools import partial
from pathlib import Path
from statistics import median

import pytest

from broker_plane.testing.processes import Actor
from broker_plane.testing.server import NatsServer
from tests.carriers import Carrier, serve_arguments, target_of
from tests.faults.carrier_rounds import Killing, check
from tests.faults.conftest import Stage
from tests.faults.keyed_server import place_of
from tests.figures import Figure
from tests.ports import free_port

pytestmark = pytest.mark.anyio
CARRIERS: tuple[Carrier, ...] = ("nats", "webhook")
SERVER = Path(__file__).with_name("keyed_server.py")
ROUNDS, FULL_ROUNDS = 2, 50


@pytest.fixture
def seed() -> int:
    found = int(os.environ.get("BROKER_PLANE_TEST_SEED", 0)) or random.SystemRandom().getrandbits(32)
    print(f"BROKER_PLANE_TEST_SEED={found}")
    return found


@pytest.mark.parametrize("rounds", [ROUNDS, pytest.param(FULL_ROUNDS, marks=pytest.mark.full)])
@pytest.mark.parametrize("carrier", CARRIERS)
async def test_a_call_during_which_everything_is_killed_has_one_answer_and_one_effect(
    carrier: Carrier, rounds: int, own_server: NatsServer, stage: Stage, tmp_path: Path, seed: int, figure: Figure
) -> None:
    killing = killing_over(carrier, own_server, stage, tmp_path, seed)
    await killing.start()
    for number in range(rounds):
        key = f"order {number}"
        check(await killing.round(key), place_of(tmp_path / "calls", key))
    waited = sorted(killing.durations)
    figure(
        f"{carrier}: calls with one answer, in order, and one effect after three kills each",
        f"{rounds} of {rounds}; taken over after {median(waited):.1f} s (median), {waited[-1]:.1f} s (longest)",
        aim=f"{rounds} of {rounds}",
        met=True,
    )


def killing_over(carrier: Carrier, nats: NatsServer, stage: Stage, root: Path, seed: int) -> Killing:
    """The processes over one carrier. A front that is started again has the same port."""
    (root / "calls").mkdir()
    name, port = "keyed", free_port()
    ours = {"nats_url": nats.url, "data_dir": root, "webhook_networks": "127.0.0.0/8"}
    serve = partial(run_front, stage, serve_arguments(carrier, name, port, str(SERVER)), ours)
    target = target_of(carrier, name, port)
    ask = partial(stage.run, "tests.faults.carrier_client", carrier, target, root / "session", **ours)
    return Killing(nats, serve, ask, root / "calls", seed)


def run_front(stage: Stage, words: list[str], settings: dict[str, object]) -> Actor:
    return stage.run("broker_plane.cli.main", *words, **settings)
