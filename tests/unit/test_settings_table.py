"""Every setting with every kind of text that somebody may have put into its variable: its value, or one sentence."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest
from hypothesis import given as inputs
from hypothesis import strategies as st

from broker_plane import environment
from broker_plane.config import Secret, Settings, description, load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from broker_plane.units import parse_count, parse_size, parse_time, parse_whole_time

NAMES = Settings.__struct_fields__
HINTS = get_type_hints(Settings, include_extras=True)
with pytest.MonkeyPatch.context() as patch:
    for variable in list(os.environ):
        if variable.startswith("BROKER_PLANE_"):
            patch.delenv(variable)
    DEFAULTS = load_settings()
FREE_TEXT = {
    "nats_url",
    "nats_guest_url",
    "bridge_hosts",
    "trusted_hosts",
    "token_hosts",
    "transfer_networks",
    "webhook_networks",
}
FREE_TEXT |= {
    "audiences",
    "nats_creds",
    "transfer_directories",
    "data_dir",
    "protocols_key",
    "puller_name",
    "owner",
    "nats_domain",
    "prefix",
}
FREE_TEXT |= {name for name in NAMES if HINTS[name] is Secret or HINTS[name] is str}


def kind_of(name: str) -> Any:
    hint = HINTS[name]
    while get_origin(hint) is not Literal and get_args(hint):
        hint = get_args(hint)[0]
    return hint


def unit_of(name: str) -> str:
    return str((description(name).extra or {}).get("unit", ""))


NUMBERS = [name for name in NAMES if kind_of(name) in (int, float)]


@pytest.fixture(autouse=True)
def only_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("BROKER_PLANE_"):
            monkeypatch.delenv(variable)


def load(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> Any:
    monkeypatch.setenv(f"BROKER_PLANE_{name.upper()}", text)
    return getattr(load_settings(), name)


def refused(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> str:
    with pytest.raises(ConfigError) as caught:
        load(monkeypatch, name, text)
    said = str(caught.value)
    assert said.startswith(f"BROKER_PLANE_{name.upper()}: ")
    assert "\n" not in said
    assert "Expected" not in said
    assert "`" not in said.replace("'`", "")
    return said


@pytest.mark.parametrize("name", NAMES)
def test_an_empty_variable_is_an_unset_one(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for text in ("", " ", "   ", "\t", "\n", " \r\n"):
        assert load(monkeypatch, name, text) == getattr(DEFAULTS, name), repr(text)


QUOTES = ('""', "''", "``", "\u201c\u201d", "\u2018\u2019", '"', "'")
NONSENSE = ("nonsense", "1e9", "0x10", "NaN", "inf", "-", "10 apples", "1,000", "ten", "\u0661\u0662x")
OUT_OF_RANGE = ("-1", "-0.5", "-10m", "-1GiB", "9" * 25, "9" * 400, "99999999999999TiB", "9999999w")


def shares(names: Sequence[str], texts: Sequence[str]) -> pytest.MarkDecorator:
    """Every name with two of the texts, so that all texts are used; with -m full, every name with every text."""
    few = [(name, [texts[(2 * place + step) % len(texts)] for step in range(2)]) for place, name in enumerate(names)]
    return pytest.mark.parametrize(
        ("name", "texts"),
        [pytest.param(name, some, id=name) for name, some in few]
        + [pytest.param(name, texts, id=f"{name}-all", marks=pytest.mark.full) for name in names],
    )


@shares(NAMES, QUOTES)
def test_a_value_in_quotation_marks_is_an_error_that_says_so(
    monkeypatch: pytest.MonkeyPatch, name: str, texts: list[str]
) -> None:
    inner = "s3cret-text" if kind_of(name) is Secret else "60"
    for quotes in texts:
        said = refused(monkeypatch, name, f"{quotes[0]}{inner}{quotes[-1] if len(quotes) > 1 else ''}")
        assert "quotation mark" in said
        assert "s3cret" not in said


@shares([name for name in NAMES if name not in FREE_TEXT], NONSENSE)
def test_nonsense_is_one_sentence(monkeypatch: pytest.MonkeyPatch, name: str, texts: list[str]) -> None:
    for text in texts:
        if name == "webhook_retry_delays_seconds" and text == "1,000":
            assert load(monkeypatch, name, text) == "1,0"
        else:
            refused(monkeypatch, name, text)


@shares(NUMBERS, OUT_OF_RANGE)
def test_negative_and_huge_numbers_are_one_sentence(
    monkeypatch: pytest.MonkeyPatch, name: str, texts: list[str]
) -> None:
    for text in texts:
        assert len(refused(monkeypatch, name, text)) < 200


@pytest.mark.parametrize(("text", "number"), [("64MiB", 64 << 20), ("64 mib", 64 << 20), ("20GB", 20 * 10**9)])
@pytest.mark.parametrize("name", [name for name in NUMBERS if unit_of(name) == "bytes"])
def test_sizes_take_units(monkeypatch: pytest.MonkeyPatch, name: str, text: str, number: int) -> None:
    assert load(monkeypatch, name, text) == number
    assert load_settings(**{name: text}) == load_settings()


@pytest.mark.parametrize(("text", "seconds"), [("10m", 600), ("2h", 7200), ("7d", 604_800), ("30 s", 30), (" 90 ", 90)])
@pytest.mark.parametrize("name", [name for name in NUMBERS if unit_of(name) == "seconds"])
def test_times_take_units(monkeypatch: pytest.MonkeyPatch, name: str, text: str, seconds: int) -> None:
    assert load(monkeypatch, name, text) == seconds


@pytest.mark.parametrize(("text", "days"), [("7d", 7), ("48h", 2), ("2w", 14), ("3", 3)])
@pytest.mark.parametrize("name", [name for name in NUMBERS if unit_of(name) == "days"])
def test_days_take_units(monkeypatch: pytest.MonkeyPatch, name: str, text: str, days: int) -> None:
    assert load(monkeypatch, name, text) == days


def test_a_number_of_whole_days_has_no_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "whole" in refused(monkeypatch, "audit_retention_days", "36h")


@pytest.mark.parametrize("name", [name for name in NUMBERS if not unit_of(name)])
def test_counts_take_no_unit(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert "unit" in refused(monkeypatch, name, "5m")


@pytest.mark.parametrize("name", [name for name in NAMES if get_origin(HINTS[name]) is Literal])
def test_an_unknown_choice_is_warned_which_there_are(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    said = refused(monkeypatch, name, "admin")
    for choice in filter(None, get_args(HINTS[name])):
        assert choice in said
        assert load(monkeypatch, name, f" {choice.upper()} ") == choice


@pytest.mark.parametrize(("text", "value"), [("true", True), ("YES", True), ("1", True), ("off", False), ("0", False)])
def test_a_switch_is_on_or_off(monkeypatch: pytest.MonkeyPatch, text: str, value: bool) -> None:
    assert load(monkeypatch, "delete_when_used", text) is value


@pytest.mark.parametrize("name", ["data_dir", "nats_creds", "audiences", "transfer_directories"])
def test_a_tilde_is_the_home_directory(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert str(load(monkeypatch, name, "~/a b")) == str(tmp_path / "a b")
    assert str(getattr(load_settings(**{name: "~/x"}), name)) == str(tmp_path / "x")


def test_each_directory_of_a_list_is_expanded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert load(monkeypatch, "transfer_directories", "~/a: /b:~") == f"{tmp_path}/a:/b:{tmp_path}"


@pytest.mark.parametrize("text", ["$HOME/bp", "${HOME}/bp", "/srv/${USER}"])
@pytest.mark.parametrize("name", ["data_dir", "nats_creds", "transfer_directories"])
def test_a_variable_that_nothing_expanded_is_an_error(monkeypatch: pytest.MonkeyPatch, name: str, text: str) -> None:
    assert "is not expanded here" in refused(monkeypatch, name, text)


@pytest.mark.parametrize(
    "text",
    [
        *("bridge:8787", "bridge", "//bridge", "ftp://bridge", "http://", "http:///s2sp", "http://b:port"),
        *("http://b:99999", "http://[::1", "http://b c", "http://b?x=1", "http://b#x", "http://user:pw@b"),
    ],
)
def test_what_is_no_base_url_of_a_bridge_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    refused(monkeypatch, "bridge_url", text)


@pytest.mark.parametrize("text", ["http://[fd00::5]:8787", "https://bridge.example/plane/", "http://127.0.0.1:1"])
def test_a_base_url_stays_as_it_is(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    assert load(monkeypatch, "bridge_url", text) == text


@pytest.mark.parametrize("name", sorted(FREE_TEXT - {"audiences"}))
def test_control_characters_are_refused(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    for text in ("a\nb", "a\tb", "a\x01b", "a\x1b[31mb", "a\r\nb", "a\u2028b"):
        refused(monkeypatch, name, text)


@pytest.mark.parametrize(
    ("variable", "meant"),
    [
        *(("GRANT_UZES", "GRANT_USES"), ("NATS_URI", "NATS_URL"), ("NATSURL", "NATS_URL"), ("BRIDGE", "")),
        *(("LOGLEVEL", "LOG_LEVEL"), ("TTL_SECS", "TTL_SECONDS"), ("OWNERS", "OWNER"), ("XQZ", "")),
        *(("DATADIR", "DATA_DIR"), ("FEED_RETENTION_DAY", "FEED_RETENTION_DAYS"), ("DELETE_USED", "DELETE_WHEN_USED")),
    ],
)
def test_an_unknown_name_is_a_warning_with_the_nearest_one(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, variable: str, meant: str
) -> None:
    monkeypatch.setattr(environment, "_warned", set())
    monkeypatch.setenv(f"BROKER_PLANE_{variable}", "3")
    with caplog.at_level(logging.WARNING):
        load_settings()
        load_settings()
    (record,) = caplog.records
    assert f"BROKER_PLANE_{variable} is not a setting" in record.getMessage()
    if meant:
        assert record.getMessage().endswith(f"did you mean BROKER_PLANE_{meant}?")


@pytest.mark.parametrize(
    "text", ["", "x", "5K", "5k", "5 G", "5MiBs", "1..5MB", "0.3B", "--1", "1e3", "MiB", "5 Mi B", "\uff15MB x"]
)
def test_what_is_no_size_is_warned_what_one_looks_like(text: str) -> None:
    with pytest.raises(ValueError, match=r"size|unit|whole"):
        parse_size(text)


@inputs(st.integers(0, 1 << 50), st.sampled_from(["B", "kB", "KiB", "MB", "mib", "GB", "GiB", "TB"]), st.booleans())
def test_sizes_are_exact(number: int, unit: str, blank: bool) -> None:
    base = 1024 if "i" in unit.lower() else 1000
    factor = base ** "bkmgt".index(unit[0].lower()) if len(unit) > 1 else 1
    assert parse_size(f"{number}{' ' * blank}{unit}") == number * factor


@inputs(st.text(max_size=60))
def test_any_text_is_a_number_or_a_value_error(text: str) -> None:
    for parse in (parse_size, parse_time, parse_whole_time, parse_count):
        try:
            parse(text)
        except ValueError as error:
            assert len(str(error)) < 300


@inputs(st.sampled_from(NAMES), st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"])))
def test_any_text_in_any_variable_is_a_value_or_one_error(name: str, text: str) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(f"BROKER_PLANE_{name.upper()}", text)
        try:
            load_settings()
        except BrokerPlaneError as error:
            assert str(error).startswith(f"BROKER_PLANE_{name.upper()}: ")


NO_HOME = """
import os, pwd
def missing(uid): raise KeyError(uid)
pwd.getpwuid = missing
os.environ.pop("HOME", None)
from broker_plane.cli.main import main
main()
"""


@pytest.mark.parametrize(
    "words",
    [
        *(("ls",), ("up", "--detach"), ("install", "claude-desktop"), ("mcp",)),
        *(
            pytest.param(words, marks=pytest.mark.full)
            for words in (("doctor",), ("down",), ("publish", "-"), ("ls", "--json"), ("watch",), ("keys", "rotate"))
        ),
    ],
)
def test_without_home_and_passwd_entry_a_command_works_or_says_one_sentence(
    tmp_path: Path, words: tuple[str, ...]
) -> None:
    keep = {name: value for name, value in os.environ.items() if not name.startswith(("BROKER_PLANE_", "XDG_"))}
    done = subprocess.run(
        [sys.executable, "-c", NO_HOME, *words],
        env=keep,
        cwd=tmp_path,
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode in (0, 1, 2)
    assert "Traceback" not in done.stderr
    assert done.returncode == 0 or "HOME" in done.stderr
    assert not list(tmp_path.glob("~*"))
