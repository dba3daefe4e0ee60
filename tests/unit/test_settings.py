"""Settings out of the environment: values that parse are of their type, and what does not is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from broker_plane.config import Secret, Settings, load_settings
from broker_plane.environment import RENAMED
from broker_plane.errors import ConfigError
from broker_plane.units import UNLIMITED, format_size, format_time, parse_size, parse_time


def test_variables_are_read_as_what_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {
        "TTL_SECONDS": "60",
        "DELETE_WHEN_USED": "true",
        "FEED_RETENTION_DAYS": "0.5",
        "DATA_DIR": "/srv/plane",
        "TOKEN": "b3arer",
    }
    given["ROLE"] = "source"
    for name, value in given.items():
        monkeypatch.setenv(f"BROKER_PLANE_{name}", value)
    found = load_settings(owner="weather")
    assert (found.ttl_seconds, found.delete_when_used, found.feed_retention_days) == (60, True, 0.5)
    assert found.data_dir == Path("/srv/plane")
    assert (found.role, found.owner, found.token) == ("source", "weather", Secret("b3arer"))
    assert "b3arer" not in repr(found)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("TTL_SECONDS", "0"), ("TTL_SECONDS", "soon"), ("DELETE_WHEN_USED", "perhaps"), ("ROLE", "king")),
        *(("OWNER", "a b"), ("OWNER", "local\n")),
    ],
)
def test_what_does_not_parse_is_named(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv(f"BROKER_PLANE_{name}", value)
    with pytest.raises(ConfigError, match=f"^BROKER_PLANE_{name}: "):
        load_settings()


NO_LIMIT = ("grant_uses", "max_abstract_rows", "max_inline_body_bytes")


@pytest.mark.parametrize("name", NO_LIMIT)
def test_no_limit_is_a_word_and_zero_is_an_error_that_names_it(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for zero in (0, "0"):
        with pytest.raises(ConfigError, match=f"^BROKER_PLANE_{name.upper()}: .* write unlimited$"):
            load_settings(**{name: zero})
    monkeypatch.setenv(f"BROKER_PLANE_{name.upper()}", " Unlimited ")
    assert getattr(load_settings(), name) in ("unlimited", UNLIMITED)
    assert load_settings(**{name: "unlimited"}) == load_settings()


@pytest.mark.parametrize(("old", "new"), RENAMED.items())
def test_an_old_name_is_an_error_that_names_the_new_one(monkeypatch: pytest.MonkeyPatch, old: str, new: str) -> None:
    assert new in Settings.__struct_fields__
    assert old not in Settings.__struct_fields__
    with pytest.raises(ConfigError, match=f"^{old} was renamed to {new}"):
        load_settings(**{old: 5})
    monkeypatch.setenv(f"BROKER_PLANE_{old.upper()}", "")
    load_settings()
    monkeypatch.setenv(f"BROKER_PLANE_{old.upper()}", "5")
    with pytest.raises(ConfigError, match=f"^BROKER_PLANE_{old.upper()} was renamed to BROKER_PLANE_{new.upper()}"):
        load_settings()


def test_none_leaves_a_setting_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PLANE_OWNER", "weather")
    assert load_settings(owner=None, ttl_seconds=None).owner == "weather"


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1000, "1000"), (1024, "1KiB"), (512 << 20, "512MiB"), (3 << 40, "3TiB")]
)
def test_sizes_are_shown_as_they_are_read(size: int, text: str) -> None:
    assert format_size(size) == text
    assert parse_size(text) == size


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "0s"), (0.5, "0.5s"), (90, "90s"), (600, "10m"), (7200, "2h"), (86_400, "1d")]
)
def test_times_are_shown_as_they_are_read(seconds: float, text: str) -> None:
    assert format_time(seconds) == text
    assert parse_time(text) == seconds


def test_what_is_no_setting_is_an_error() -> None:
    with pytest.raises(ConfigError, match="tll"):
        load_settings(tll=5)
