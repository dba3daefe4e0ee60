"""What `session show` says about a session on a terminal."""

from __future__ import annotations

from broker_plane.cli.session_texts import _about


def test_only_who_is_connected_is_present() -> None:
    here = {"name": "anna", "role": "editor", "present": True, "here": True}
    gone = {"name": "bert", "role": "editor", "present": True, "here": False}
    assert _about({"participants": [here, gone]})["present"] == "anna (editor)"
