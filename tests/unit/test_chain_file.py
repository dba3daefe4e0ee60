"""The file of `broker-plane chain`: read exactly, and refused if a person could read it differently."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from broker_plane.cli.chain import steps_in
from broker_plane.errors import WireError

STEP: dict[str, Any] = {
    "$schema": "mcp/transfer-descriptor/v1",
    "transfer_id": "6f9619ff-8b86-4d01-b42d-00cf4fc964ff",
    "mode": "fetch",
    "protocol": "https",
    "endpoint": "https://files.example/a.png",
    "format": "image/png",
}


def test_a_number_beyond_64_bits_keeps_its_digits(tmp_path: Path) -> None:
    file = tmp_path / "chain.json"
    file.write_text(json.dumps([STEP | {"size_hint": 2**66 + 1, "order": 2**70 + 1, "nested": {"id": -(2**64) - 1}}]))
    (step,) = steps_in(file)
    assert step.size_hint == 2**66 + 1
    assert step.to_wire()["order"] == 2**70 + 1
    assert step.to_wire()["nested"] == {"id": -(2**64) - 1}


@pytest.mark.parametrize("spaced", ['"endpoint":', '"endpoint" :', '"\\u0065ndpoint":'])
def test_a_second_endpoint_is_refused_and_does_not_replace_the_first(tmp_path: Path, spaced: str) -> None:
    file = tmp_path / "chain.json"
    file.write_text(json.dumps([STEP])[:-2] + f', {spaced} "https://elsewhere.example/b.png"}}]')
    assert json.loads(file.read_text())[0]["endpoint"] == "https://elsewhere.example/b.png"
    with pytest.raises(WireError, match=r"chain\.json has an object with two values for 'endpoint'; remove one"):
        steps_in(file)


@pytest.mark.parametrize("text", ["", "[", "{}", "[]", "[1e999]", "[" * 100_000, '["\\ud800"]'])
def test_what_is_no_chain_is_one_sentence(tmp_path: Path, text: str) -> None:
    file = tmp_path / "chain.json"
    file.write_text(text)
    with pytest.raises(WireError, match=r"chain\.json"):
        steps_in(file)
