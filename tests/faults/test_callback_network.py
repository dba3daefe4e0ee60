"""Callbacks to where nothing may be sent: the front refuses them, and no packet goes there.

Front, nats-server, receiver and name server are real processes in a network namespace of the test's own.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any

import pytest

from tests.faults.network_namespace import command
from tests.tools import need

WORLD_SECONDS = 200


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What the attacks of `callback_world.py` came to."""
    need("ip", "unshare", why="which give the test a network of its own")
    words = command("tests.faults.callback_world", tmp_path_factory.mktemp("world"))
    done = subprocess.run(words, capture_output=True, text=True, timeout=WORLD_SECONDS, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    answers: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answers


def test_a_harmful_callback_is_refused(found: dict[str, Any]) -> None:
    refused = {name: status for name, status in found["attacks"].items() if not 400 <= status < 500}
    assert not refused


def test_no_packet_goes_to_an_address_that_is_not_allowed(found: dict[str, Any]) -> None:
    """Also none to the address that a proven name has later, and none to where a receiver redirects."""
    assert len(found["packets"]) == 3
    assert set(found["packets"].values()) == {0}


def test_of_a_name_with_one_forbidden_address_the_allowed_one_is_not_contacted_either(found: dict[str, Any]) -> None:
    assert not [path for path in found["posts"] if path.startswith("/both ")]


def test_a_redirect_of_the_challenge_is_not_followed(found: dict[str, Any]) -> None:
    assert found["posts"]["/redirect challenge"] == 1


def test_a_name_that_leads_elsewhere_later_gets_its_messages_at_the_proven_address(found: dict[str, Any]) -> None:
    assert found["proven"]["rebinds"]["messages"] >= 1


def test_what_a_redirecting_receiver_was_to_get_can_be_fetched(found: dict[str, Any]) -> None:
    assert found["proven"]["later"]["stored"] == found["proven"]["proven"]["stored"] == 1
