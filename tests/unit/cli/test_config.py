"""`broker-plane config`: every setting with its value and source, no secret, and every problem at once."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from broker_plane.cli.main import app_of, main
from broker_plane.config import Settings, load_settings
from broker_plane.units import UNLIMITED


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in list(os.environ):
        if variable.startswith("BROKER_PLANE_"):
            monkeypatch.delenv(variable)


def run(*words: str, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app_of("config"), ["config", *words])
    assert done.exit_code == code, done.output
    return done.stdout, done.stderr


def settings(*words: str, code: int = 0) -> dict[str, dict[str, Any]]:
    said = json.loads(run("--json", *words, code=code)[0])
    return {each["name"]: each for each in said["settings"]}


def test_every_setting_has_its_default() -> None:
    found = settings()
    assert list(found) == list(Settings.__struct_fields__)
    for name, each in found.items():
        default = getattr(load_settings(), name)
        assert each["source"] == "default"
        assert each["value"] == {UNLIMITED: "unlimited"}.get(default, each["value"])


def test_a_value_has_the_source_with_the_highest_precedence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\n\nBROKER_PLANE_OWNER=weather\nBROKER_PLANE_TTL_SECONDS=20m\nBP_PLANE_PASSWORD=x\n")
    monkeypatch.setenv("BROKER_PLANE_TTL_SECONDS", "30m")
    monkeypatch.setenv("BROKER_PLANE_DATA_DIR", "/srv/a")
    found = settings("--env-file", str(file), "--data-dir", "/srv/b")
    shown = {
        name: (found[name]["value"], found[name]["source"]) for name in ("owner", "ttl_seconds", "data_dir", "role")
    }
    assert shown == {
        "owner": ("weather", "file"),
        "ttl_seconds": (1800, "environment"),
        "data_dir": ("/srv/b", "flag"),
        "role": ("plane", "default"),
    }


def test_secrets_are_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PLANE_TOKEN", "s3cret-token")
    monkeypatch.setenv("BROKER_PLANE_NATS_URL", "nats://plane:s3cret-password@a:4222,nats://s3cret-nkey@b:4222")
    for words in ((), ("--json",)):
        out, err = run(*words)
        assert "s3cret" not in out + err
        assert "(hidden)" in out
        assert "nats://…@a:4222,nats://…@b:4222" in out


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("nats://u:s3/cret@a:4222", "nats://…@a:4222"),
        ("nats://u:s3@cret@a:4222", "nats://…@a:4222"),
        ("u:s3cret@a:4222,tls://v:s3 cret@b", "…@a:4222,tls://…@b"),
    ],
)
def test_a_password_is_all_before_the_last_at_sign(monkeypatch: pytest.MonkeyPatch, url: str, shown: str) -> None:
    monkeypatch.setenv("BROKER_PLANE_NATS_URL", url)
    for words in ((), ("--json",)):
        out, err = run(*words)
        assert shown in out
        assert "s3" not in out + err
        assert "cret" not in (out + err).replace("secret", "")


def test_a_pipe_gets_a_row_per_setting_with_units(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_PLANE_MAX_ABSTRACT_ROWS", "unlimited")
    monkeypatch.setenv("BROKER_PLANE_GRANT_USES", "unlimited")
    rows = {name: (value, source) for name, value, source in (line.split("\t") for line in run()[0].splitlines())}
    assert rows["BROKER_PLANE_MAX_ABSTRACT_ROWS"] == ("unlimited", "environment")
    assert rows["BROKER_PLANE_GRANT_USES"] == ("unlimited", "environment")
    assert rows["BROKER_PLANE_TTL_SECONDS"] == ("10m", "default")
    assert rows["BROKER_PLANE_FEED_RETENTION_DAYS"] == ("7d", "default")
    assert rows["BROKER_PLANE_CACHE_BYTES"] == ("64MiB", "default")


def test_all_problems_are_listed_and_the_exit_code_is_2(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, text in (("ROLE", "king"), ("GRANT_USES", "0"), ("TTL", "60"), ("OWNRE", "x"), ("TEST_SEED", "1")):
        monkeypatch.setenv(f"BROKER_PLANE_{name}", text)
    found = settings(code=2)
    assert {name for name, each in found.items() if "problem" in each} == {"role", "grant_uses"}
    _, err = run(code=2)
    lines = [line.removeprefix("broker-plane: ") for line in err.splitlines()]
    assert lines == [
        "BROKER_PLANE_OWNRE is not a setting and is ignored; did you mean BROKER_PLANE_OWNER?",
        "BROKER_PLANE_TTL was renamed to BROKER_PLANE_TTL_SECONDS",
        "BROKER_PLANE_ROLE: 'king' is not one of plane, source, guest",
        "BROKER_PLANE_GRANT_USES: it must be at least 1; for no limit, write unlimited",
    ]


def test_an_old_variable_in_a_file_is_a_problem(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("BROKER_PLANE_COLLECT=true\n")
    _, err = run("--env-file", str(file), code=2)
    assert "BROKER_PLANE_COLLECT was renamed to BROKER_PLANE_DELETE_WHEN_USED" in err


@pytest.mark.parametrize(
    ("words", "new"),
    [
        (("up", "--nats", "nats://a"), "--nats-url"),
        (("up", "--data", "d"), "--data-dir"),
        (("publish", "-", "--collect"), "--delete-when-used"),
        (("publish", "-", "--uses", "0"), "unlimited"),
        (("grant", "x", "--bytes", "5"), "--max-bytes"),
        (("grant", "x", "--uses", "0"), "unlimited"),
        (("upload-grant", "--within", "5m"), "--complete-within"),
        (("upload-grant", "--bytes", "5"), "--max-bytes"),
        (("upload-grant", "--uses", "0"), "unlimited"),
        (("upload", "a", "b", "--type", "c"), "--media-type"),
        (("owners", "add", "a", "--max-bytes", "0"), "unlimited"),
        (("dlq", "list"), "dlq ls"),
    ],
)
def test_an_old_option_is_a_usage_error_that_names_the_new_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], new: str
) -> None:
    monkeypatch.setattr("sys.argv", ["broker-plane", *words])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    assert new in " ".join(capsys.readouterr().err.split())
