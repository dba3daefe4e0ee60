"""Random Range headers against a bridge that runs, and a model that asks each byte whether it is meant."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from broker_plane.web.ranges import Part
from tests.bridge.bodies import Bridge
from tests.unit.web.test_ranges import model, random_spec

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize("count", [250, pytest.param(10_000, marks=pytest.mark.full)])
async def test_random_ranges_over_http_agree_with_the_model(bridge: Bridge, count: int) -> None:
    rng = random.Random(9110)
    bodies = [(data, await bridge.publish(data, ttl=3600)) for data in (rng.randbytes(size) for size in (1, 7, 23, 40))]
    seen: Counter[int] = Counter()
    for _ in range(count):
        data, published = rng.choice(bodies)
        specs = [random_spec(rng) for _ in range(rng.choice([1, 1, 1, 2, 3]))]
        answer = await bridge.get(published, range="bytes=" + ", ".join(specs))
        expected = model(specs, len(data))
        seen[answer.status_code] += 1
        if isinstance(expected, Part):
            assert answer.status_code == 206
            assert answer.headers["content-range"] == expected.content_range(len(data))
            assert answer.content == data[expected.start : expected.stop]
        elif expected == "416":
            assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(data)}")
        else:
            assert (answer.status_code, answer.content) == (200, data)
    print(f"\n{count:,} ranges over HTTP, 0 differences: " + ", ".join(f"{n:,} of {code}" for code, n in seen.items()))
