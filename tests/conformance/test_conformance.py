"""The MCP conformance suite gives the SDK's everything-server the same results behind each front as without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conformance.conftest import Alone
from tests.conformance.differences import COMMAND, DIFFERENCES, FRONTS, NATS, URL, allowed
from tests.conformance.fronts import Fronts
from tests.conformance.suite import ERAS, Era, differences, run_suite

QUICK = {(URL, "2026-07-28"), (URL, "2025-11-25"), (NATS, "2026-07-28")}
"""What runs by default."""
EACH = [
    pytest.param(front, era, marks=[] if (front, era) in QUICK else [pytest.mark.full], id=f"{front}-{era}")
    for front in FRONTS
    for era in ERAS
    if (front, era) != (COMMAND, "2025-11-25")  # a process for each of its sessions: minutes
]


@pytest.mark.parametrize("era", ERAS)
def test_every_scored_check_succeeds_over_streamable_http(alone: Alone, era: Era) -> None:
    scored = alone(era).scored()
    assert scored.total() > 60, "the suite ran"
    assert {check.outcome for check in scored} == {"SUCCESS"}


@pytest.mark.parametrize(("front", "era"), EACH)
def test_every_check_ends_as_without_the_front(
    front: str, era: Era, alone: Alone, fronts: Fronts, tmp_path: Path
) -> None:
    """What is not scored is compared as well; what differs is in the table, and everything in the table differs."""
    with fronts.open(front) as url:
        behind = run_suite(url, era, tmp_path)
    assert differences(alone(era), behind) == allowed(front, era)


def test_no_row_of_the_table_is_about_a_scored_check(alone: Alone) -> None:
    scored = {(era, check.scenario) for era in ERAS for check in alone(era).scored()}
    assert not scored & {(row.era, row.scenario) for row in DIFFERENCES}
