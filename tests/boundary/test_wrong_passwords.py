"""A wrong password or address is reported with the setting that has it, for each of the users a process connects as."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from broker_plane import Plane
from broker_plane.config import Secret, Settings, load_settings
from broker_plane.errors import BrokerPlaneError, ConfigError
from tests.deploy.running import Running
from tests.ports import free_port

pytestmark = pytest.mark.anyio
GRANT = "bp.pull." + "AQ" + "A" * 78


def changed(settings: Settings, **fields: Any) -> Settings:
    return msgspec.structs.replace(settings, **fields)


async def test_a_wrong_callout_password_is_reported_with_its_setting(plane_settings: Settings) -> None:
    wrong = changed(plane_settings, callout_password=Secret("Wr0ng-Pass"))
    with pytest.raises(ConfigError, match="refused the password: correct BROKER_PLANE_CALLOUT_PASSWORD") as caught:
        async with Plane.connect(wrong):
            pass
    assert "BROKER_PLANE_NATS_URL" not in str(caught.value)
    assert "Wr0ng-Pass" not in str(caught.value)


@pytest.mark.parametrize("right", [True, False])
async def test_a_wrong_probe_password_is_a_warning_with_its_setting(
    plane_settings: Settings, variables: dict[str, str], caplog: pytest.LogCaptureFixture, right: bool
) -> None:
    password = variables["BROKER_PLANE_NATS_PROBE_PASSWORD"] if right else "Wr0ng-Pass"
    async with Plane.connect(changed(plane_settings, nats_probe_password=Secret(password))) as plane:
        assert plane.durability == ("fsync before ack" if right else "unknown")
    warnings = [record.getMessage() for record in caplog.records if "probe" in record.getMessage()]
    assert len(warnings) == (0 if right else 1)
    assert right or "correct BROKER_PLANE_NATS_PROBE_PASSWORD" in warnings[0]


@pytest.mark.parametrize("user", ["stats:Wr0ng-Pass@", ""])
async def test_what_is_wrong_with_the_address_for_guests_names_that_setting(
    broker: Running, plane_settings: Settings, user: str
) -> None:
    place = broker.address if user else f"127.0.0.1:{free_port()}"
    guests = changed(plane_settings, nats_guest_url=f"nats://{user}{place}", callout_seed=Secret(""))
    async with Plane.connect(guests) as plane:
        with pytest.raises(BrokerPlaneError, match=r"correct (them in )?BROKER_PLANE_NATS_GUEST_URL"):
            await plane.pull(GRANT)


async def test_a_malformed_address_for_guests_names_that_setting(broker: Running, tmp_path: Path) -> None:
    async with Plane.connect(
        load_settings(nats_url=broker.url(), nats_guest_url="http://x", data_dir=tmp_path)
    ) as plane:
        with pytest.raises(ConfigError, match="BROKER_PLANE_NATS_GUEST_URL has a scheme"):
            await plane.pull(GRANT)
