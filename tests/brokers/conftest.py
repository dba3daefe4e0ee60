"""One authority and one operator for all of these tests."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.brokers.certificates import Authority
from tests.brokers.jwts import Operator


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def operator() -> Operator:
    return Operator()


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BROKER_PLANE_DATA_DIR", str(tmp_path / "data"))
