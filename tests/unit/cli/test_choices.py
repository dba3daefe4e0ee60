"""Options that take one of a few words: what the help and the errors say."""

from __future__ import annotations

import sys

import pytest

from broker_plane.cli.main import _main


@pytest.mark.parametrize("words", [("exchanges", "ls", "--state"), ("tasks", "ls", "--status")])
def test_a_word_that_there_is_not_is_refused_with_those_that_there_are(
    words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["broker-plane", *words, "nowhere"])
    assert _main() == 2
    said = capsys.readouterr().err
    assert f"Invalid value for '{words[-1]}': 'nowhere' is not one of '" in said and "''" not in said
