"""The table of statuses against the hierarchy of errors, and the form of an error."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from broker_plane.errors import (
    BodyNotFoundError,
    BrokerPlaneError,
    BrokerUnavailableError,
    ConfigError,
    GrantError,
    GrantInUseError,
    GrantRefusedError,
    RangeError,
    SelectorError,
)
from broker_plane.web.problems import NEVER_HERE, NOT_FOUND, STATUS_OF_CODE, problem_of, status_of


def every_error(root: type[BrokerPlaneError] = BrokerPlaneError) -> Iterator[type[BrokerPlaneError]]:
    yield root
    for child in root.__subclasses__():
        yield from every_error(child)


def test_every_error_has_a_status_or_a_reason_to_have_none() -> None:
    codes = {error.code for error in every_error() if error.__module__ == "broker_plane.errors"}
    assert codes == STATUS_OF_CODE.keys() | NEVER_HERE
    assert not STATUS_OF_CODE.keys() & NEVER_HERE


def test_a_problem_has_the_members_of_rfc_9457_and_of_s2sp() -> None:
    problem = problem_of(SelectorError("There is no column 'x' here"))
    assert problem.status == 400
    assert dict(problem.headers)["content-type"] == "application/problem+json"
    assert json.loads(problem.body) == {
        "type": "about:blank",
        "title": "Bad Request",
        "status": 400,
        "detail": "There is no column 'x' here",
        "error": "There is no column 'x' here",
        "code": "bad_selector",
        "retryable": False,
    }


@pytest.mark.parametrize("error", [GrantRefusedError("seal"), GrantError("no grant at all")])
def test_what_never_opened_gets_one_sentence_whatever_the_reason(error: BrokerPlaneError) -> None:
    body = json.loads(problem_of(error).body)
    assert (body["status"], body["error"], body["detail"]) == (404, NOT_FOUND, NOT_FOUND)


def test_a_genuine_holder_learns_that_the_body_is_gone() -> None:
    assert status_of(BodyNotFoundError("The body was deleted")) == 410


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (GrantInUseError("busy"), "1"),
        (GrantInUseError("busy", retry_after=12.2), "13"),
        (BrokerUnavailableError("away", retry_after=0.1), "1"),
    ],
)
def test_whoever_should_come_again_is_told_when(error: BrokerPlaneError, seconds: str) -> None:
    assert dict(problem_of(error).headers)["retry-after"] == seconds


def test_a_range_that_is_refused_names_the_size() -> None:
    assert dict(problem_of(RangeError("no", size=47)).headers)["content-range"] == "bytes */47"


def test_an_error_that_should_never_come_here_says_nothing_of_itself() -> None:
    assert status_of(ConfigError("secret")) == 500
    assert b"secret" not in problem_of(ConfigError("secret")).body
