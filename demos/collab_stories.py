"""The five stories of `collab`, which are those of SEP-2433, section 7."""

from __future__ import annotations

from . import collab_depth, collab_gather, collab_harden, collab_pipeline, collab_review
from .collab_cast import Story

STORIES: dict[str, Story] = {
    module.STORY.name: module.STORY
    for module in (collab_harden, collab_review, collab_pipeline, collab_gather, collab_depth)
}
