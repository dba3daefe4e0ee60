"""Finds out whether a tool's result is large and what it is. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from broker_plane.agent.held_results import HeldResult, HoldingRule, text_of_result
from broker_plane.agent.wire_form import WireForm, wire_form
from broker_plane.errors import TabularError
from broker_plane.reading.held_back import recognised


@dataclass(frozen=True, slots=True)
class LargeResult:
    """A result to be held, and the form in which the framework has it."""

    form: WireForm
    held: HeldResult


def large_result(tool: str, result: Any, rule: HoldingRule) -> LargeResult | None:
    """The result if `rule` applies to it, else None. It may take seconds: call it in a thread."""
    form = wire_form(result)
    if form is None or not rule.applies(form.result):
        return None
    try:
        found = recognised(form.result, rule.shapes.get(tool, "auto"))
    except TabularError:  # it is something else than the user says; the result says what
        found = recognised(form.result)
    return LargeResult(form, HeldResult(tool, found, text_of_result(form.result, found)))
