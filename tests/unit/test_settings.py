"""Settings out of the environment: values that parse are of their type, and what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plane.config import Secret, load_settings
from broker_plane.errors import ConfigError


def test_variables_are_read_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"TTL": "60", "COLLECT": "true", "FEED_DAYS": "0.5", "DATA_DIR": "/srv/plane", "TOKEN": "b3arer"}
    given["ROLE"] = "source"
    for name, value in given.items():
        monkeypatch.setenv(f"BROKER_PLANE_{name}", value)
    found = load_settings(owner="weather")
    assert (found.ttl, found.collect, found.feed_days, found.data_dir) == (60, True, 0.5, Path("/srv/plane"))
    assert (found.role, found.owner, found.token) == ("source", "weather", Secret("b3arer"))
    assert "b3arer" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [("TTL", "0"), ("TTL", "soon"), ("COLLECT", "perhaps"), ("ROLE", "king"), ("OWNER", "a b"), ("OWNER", "local\n")],
)
def test_what_does_not_parse_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BROKER_PLANE_{name}", value)
    with pytest.raises(ConfigError, match=f"^BROKER_PLANE_{name}: "):
        load_settings()


def test_what_is_no_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match="tll"):
        load_settings(tll=5)
