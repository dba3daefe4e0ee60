"""In an editable installation the examples are the checkout's own, and not a copy of them that grows old."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class EditableExamples(BuildHookInterface):
    """Puts a `broker_plane_examples` into an editable wheel that only says where its modules are."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name == "wheel" and version == "editable":
            self._pointer.parent.mkdir(parents=True, exist_ok=True)
            self._pointer.write_text(f"__path__ = [{self.root!r}]\n", encoding="utf-8")
            build_data["force_include_editable"][str(self._pointer)] = "broker_plane_examples/__init__.py"

    def finalize(self, version: str, build_data: dict[str, Any], artifact_path: str) -> None:
        self._pointer.unlink(missing_ok=True)

    @property
    def _pointer(self) -> Path:
        return Path(self.directory, "broker_plane_examples.py")
