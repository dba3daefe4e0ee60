"""The tiers of a description: high (a summary), mid and full (all of it), as SEP-2433 names them. Pure.

A descriptor has the text of one tier. Ours may carry the larger ones besides, in the member `tiers` of `description`:
`{"tier": "high", "text": …, "tiers": {"mid": {"text": …}, "full": {"text": …}}}`. Other clients ignore it.
"""

from __future__ import annotations

from typing import get_args

from pydantic import ValidationError

from broker_plane.errors import WireError
from broker_plane.wire.descriptor import Description, Tier

_ORDER: tuple[Tier, ...] = get_args(Tier)


def tiers_of(description: Description) -> list[Description]:
    """The description, followed by those of the larger tiers that come with it.

    A larger tier without examples or constraints has those of the description.

    Raises:
        WireError: `tiers` is malformed.
    """
    offered = (description.model_extra or {}).get("tiers") or {}
    if not isinstance(offered, dict):
        raise WireError("description.tiers is an object with the members mid and full")
    larger = _ORDER[_ORDER.index(description.tier) + 1 :]
    return [description, *(_larger(description, tier, offered[tier]) for tier in larger if tier in offered)]


def _larger(description: Description, tier: Tier, fields: object) -> Description:
    given = {"examples": description.examples, "constraints": description.constraints}
    try:
        return Description.model_validate({**given, **(fields if isinstance(fields, dict) else {}), "tier": tier})
    except ValidationError as error:
        raise WireError(f"description.tiers.{tier} has no valid text, examples or constraints") from error
