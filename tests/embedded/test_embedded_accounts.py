"""The embedded server has the accounts of nats.conf, and what an earlier version kept is kept."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from broker_plane.embedded.data_dir import DataDir
from broker_plane.embedded.nats_server import render_config
from broker_plane.embedded.state import Kept, load_kept
from broker_plane.errors import EmbeddedError
from broker_plane.wire.nkey import account_of
from broker_plane.wire.plane_names import Names

ROOT = Path(__file__).resolve().parents[2]
SHARE = re.compile(r"\{ (?:service|stream): .* \}")


def kept_in(directory: Path) -> Kept:
    return load_kept(DataDir(directory), store_bytes=1 << 20)


def test_exports_and_imports_are_those_of_nats_conf(tmp_path: Path) -> None:
    embedded = render_config(DataDir(tmp_path), kept_in(tmp_path), port=-1, names=Names())
    shared = SHARE.findall((ROOT / "nats.conf").read_text())
    assert SHARE.findall(embedded) == shared
    assert len(shared) == 24


def test_what_was_kept_before_there_were_accounts_is_completed(tmp_path: Path) -> None:
    old = {"plane_password": "pold", "probe_password": "pprobe", "store_bytes": 7, "nats_port": 4001, "bridge_port": 1}
    (tmp_path / "kept.json").write_text(json.dumps(old))
    kept = kept_in(tmp_path)
    assert (kept.plane_password, kept.probe_password, kept.nats_port) == ("pold", "pprobe", 4001)
    assert account_of(kept.callout_seed) == kept.callout_issuer
    assert kept_in(tmp_path) == kept


def test_a_kept_file_of_other_types_is_refused(tmp_path: Path) -> None:
    (tmp_path / "kept.json").write_text(json.dumps({"plane_password": 7}))
    with pytest.raises(EmbeddedError, match="another version"):
        kept_in(tmp_path)


def test_secrets_stay_out_of_its_repr(tmp_path: Path) -> None:
    kept = kept_in(tmp_path)
    said = repr(kept)
    for secret in (kept.plane_password, kept.asker_password, kept.callout_password, kept.callout_seed):
        assert secret not in said
