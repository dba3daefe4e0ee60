"""`broker-plane levels run|log|ls|show|forget`, as people and programs run it."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from broker_plane.config import Settings
from tests.interaction.conftest import Forked, forked
from tests.levels.api import BODY, GOOD, PAGE, RAISES, TOKEN, PagedApi

Levels = Callable[..., tuple[int, str, str]]
SHA256 = hashlib.sha256(BODY).hexdigest()
__all__ = ["forked"]


@pytest.fixture
def levels(forked: Forked, settings: Settings, tmp_path: Path) -> Levels:
    """`levels("run", …)`: exit code, standard output, standard error."""

    def command(*words: str, **env: str) -> tuple[int, str, str]:
        said = {
            "BROKER_PLANE_NATS_URL": settings.nats_url,
            "BROKER_PLANE_BRIDGE_URL": "http://127.0.0.1:9",
            "BROKER_PLANE_TRANSFER_NETWORKS": "127.0.0.1/32",
        }
        (done,) = forked([{"words": ["levels", *words], "env": said | env, "cwd": str(tmp_path), "seconds": 100}])
        return done["code"], done["out"], done["err"]

    return command


def descriptor(api: PagedApi, directory: Path, **fields: Any) -> str:
    """A file with a descriptor."""
    path = directory / f"descriptor{len(list(directory.glob('descriptor*')))}.json"
    path.write_text(json.dumps(api.describe(**fields).to_wire()))
    return path.name


def program(directory: Path, *sources: str) -> str:
    """A provider that writes one source a call, and keeps its prompts as `prompt<n>`."""
    for number, source in enumerate(sources):
        (directory / f"source{number}").write_text(f"```python\n{source}```\n")
    path = directory / "write"
    path.write_text("#!/bin/sh\ncd $(dirname $0)\nn=$(ls prompt* 2>/dev/null | wc -l)\ncat > prompt$n\ncat source$n\n")
    path.chmod(0o700)
    return f"command:{path}"


def test_standard_output_gets_only_the_verified_bytes(levels: Levels, api: PagedApi, tmp_path: Path) -> None:
    # A provider that is named suffices, whatever the settings say.
    words = ("-o", "-", "--provider", program(tmp_path, RAISES, GOOD, RAISES, RAISES))
    code, out, err = levels("run", descriptor(api, tmp_path), *words, BROKER_PLANE_LEVELS="generate")
    assert code == 0, err
    # The command is read as text, with one kind of line end.
    assert out == "\n".join(re.split("\r\n|\r|\n", BODY.decode(errors="replace")))
    assert SHA256 in err

    other = descriptor(api, tmp_path, endpoint=f"{api.url}/another/path")
    code, out, err = levels("run", other, *words)
    assert (code, out) == (1, ""), err


def test_a_descriptor_is_carried_out_and_each_run_is_logged(levels: Levels, api: PagedApi, tmp_path: Path) -> None:
    provider = program(tmp_path, RAISES, GOOD)
    words = ("-o", "body", "--provider", provider, "--allow", f"127.0.0.1:{api.server_port}", "--json")
    code, out, err = levels("run", descriptor(api, tmp_path), *words)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert said == {"level": "2", "provider_calls": 2, "rung": said["rung"], "bytes": len(BODY), "sha256": SHA256}
    assert (tmp_path / "body").read_bytes() == BODY
    prompts = [path.read_text() for path in sorted(tmp_path.glob("prompt*"))]
    assert "there is no such page" in prompts[1]
    assert TOKEN not in "".join(prompts)

    other = descriptor(api, tmp_path, endpoint=f"{api.url}/v1/items/99?view=few")
    code, out, err = levels("run", other, "-o", "other", "--json")
    assert (code, err) == (0, "")
    assert json.loads(out) == {**said, "level": "1.5", "provider_calls": 0}
    assert len(list(tmp_path.glob("prompt*"))) == 2

    code, out, err = levels("log", "--json", "--source", "--limit", "0")
    assert (code, err) == (0, "")
    runs = [run for run in json.loads(out) if run["endpoint"] == api.url]
    assert [(run["level"], run["status"], run["source"]) for run in runs] == [
        ("2", "failed", RAISES),
        ("2", "ok", GOOD),
        ("1.5", "ok", GOOD),
    ]
    assert [run["output_digest"] for run in runs] == ["", SHA256, SHA256]
    assert all(len(run["input_digest"]) == 64 and run["rung"] == said["rung"] for run in runs)
    for secret in (TOKEN, "view=", "/v1/items"):
        assert secret not in out
    code, out, err = levels("log", "--limit", "2")
    assert [line.split("\t")[1:3] for line in out.splitlines()] == [["2", "ok"], ["1.5", "ok"]]
    assert "source" not in json.loads(levels("log", "--json", "--limit", "1")[1])[0]


def test_the_cache_is_listed_shown_and_forgotten(levels: Levels, api: PagedApi, tmp_path: Path) -> None:
    file, provider = descriptor(api, tmp_path), program(tmp_path, GOOD, GOOD)
    for _ in range(2):
        assert levels("run", file, "-o", "body", "--provider", provider)[0] == 0
    code, out, err = levels("ls")
    assert (code, err) == (0, "")
    (row,) = [line.split("\t") for line in out.splitlines() if api.url in line]
    assert row[1:7] == ["x-paged", api.url, "1", "1", "0", "command:write"]
    code, out, _ = levels("show", row[0], "--json")
    shown = json.loads(out)
    assert code == 0
    assert (shown["source"], shown["hits"], shown["failures_in_row"]) == (GOOD, 1, 0)
    assert GOOD in levels("show", row[0])[1]
    code, out, _ = levels("forget", row[0], "--json")
    assert (code, json.loads(out)) == (0, {"forgotten": shown["key"]})
    assert api.url not in levels("ls")[1]
    code, out, err = levels("forget", row[0])
    assert (code, out) == (1, "")
    assert "No key of the code cache begins with" in err
    assert levels("run", file, "-o", "body", "--provider", provider)[0] == 0
    assert len(list(tmp_path.glob("prompt*"))) == 2


def test_a_known_protocol_says_that_it_is_level_1(levels: Levels, api: PagedApi, tmp_path: Path) -> None:
    fields = {"endpoint": f"{api.url}/v1/items/1?page=0", "protocol": "http", "size_hint": PAGE, "checksum": None}
    provider = program(tmp_path, GOOD)
    code, out, _ = levels("run", descriptor(api, tmp_path, **fields), "-o", "body", "--json", "--provider", provider)
    assert code == 0
    digest = hashlib.sha256(BODY[:PAGE]).hexdigest()
    assert json.loads(out) == {"level": "1", "provider_calls": 0, "rung": None, "bytes": PAGE, "sha256": digest}
    assert list(tmp_path.glob("prompt*")) == []


def test_errors_are_one_sentence_with_a_code_and_leave_no_file(levels: Levels, api: PagedApi, tmp_path: Path) -> None:
    def failed(*words: str, **env: str) -> tuple[int, str, str]:
        code, out, err = levels("run", *words, "-o", "body", "--json", **env)
        assert out == ""
        assert not (tmp_path / "body").exists()
        error = json.loads(err)["error"]
        return code, error["code"], error["message"]

    file = descriptor(api, tmp_path)
    code, kind, said = failed(file)
    assert (code, kind) == (1, "unsupported_protocol")
    assert "name a provider" in said
    code, kind, said = failed(file, "--provider", "crystal-ball")
    assert kind == "bad_config"
    assert "anthropic, openai or command:PROGRAM" in said
    code, kind, said = failed(file, "--provider", program(tmp_path, RAISES, RAISES))
    assert (code, kind) == (1, "levels")
    assert "`broker-plane levels log` shows each" in said
    spent = {"BROKER_PLANE_LEVELS": "generate", "BROKER_PLANE_LEVELS_PROVIDER": f"command:{tmp_path / 'write'}"}
    assert failed(file, **spent)[1] == "provider"
    (tmp_path / "list.json").write_text("[]")
    assert failed("list.json")[1] == "bad_request"


def test_no_code_is_written_for_an_endpoint_that_it_could_not_reach(
    levels: Levels, api: PagedApi, tmp_path: Path
) -> None:
    words = ("run", descriptor(api, tmp_path), "-o", "body", "--provider", program(tmp_path, GOOD), "--json")
    for more, env, named in (
        ((), {"BROKER_PLANE_TRANSFER_NETWORKS": ""}, "BROKER_PLANE_TRANSFER_NETWORKS"),
        (("--allow", "other.example"), {}, "this client allows"),
        ((), {"BROKER_PLANE_LEVELS_HOSTS": "other.example"}, "BROKER_PLANE_LEVELS_HOSTS"),
    ):
        code, _, err = levels(*words, *more, **env)
        error = json.loads(err)["error"]
        assert (code, error["code"]) == (1, "untrusted_host")
        assert named in error["message"]
    assert list(tmp_path.glob("prompt*")) == []


def test_a_program_that_ends_before_it_reads_its_prompt(levels: Levels, api: PagedApi, tmp_path: Path) -> None:
    file = descriptor(api, tmp_path)
    for _ in range(3):  # whether it has ended when the prompt is written is chance
        code, _, err = levels("run", file, "-o", "body", "--provider", "command:false", "--json")
        assert (code, json.loads(err)["error"]["code"]) == (1, "provider")
        assert "command:false exited with 1" in err
