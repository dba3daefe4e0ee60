"""Programs and packages that tests need. Under CI a missing one is a failure: `.ci/system` installs the programs, the
extra `test` the packages."""

from __future__ import annotations

import importlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def need_module(name: str) -> Any:
    """The module `name`, which the extra `test` brings. Without it the test is skipped; under CI it fails."""
    if os.environ.get("CI", "").lower() in ("1", "true"):
        return importlib.import_module(name)
    return pytest.importorskip(name)


def need(program: str, *others: str, why: str = "") -> Path:
    """The path of `program`. Without it, or one of `others`, the test is skipped; under CI it fails."""
    missing = [name for name in (program, *others) if shutil.which(name, path=_PLACES) is None]
    if missing:
        said = f"{' and '.join(missing)} not installed{why and ', ' + why}; `bash .ci/system` installs it"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(said)
        pytest.skip(said)
    return Path(shutil.which(program, path=_PLACES) or program)
