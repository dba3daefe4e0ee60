"""Programs that tests need from the system. `.ci/system` installs them, so under CI a missing one is a failure."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

_PLACES = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/usr/local/sbin"])


def need(program: str, *others: str, why: str = "") -> Path:
    """The path of `program`. Without it, or one of `others`, the test is skipped; under CI it fails."""
    missing = [name for name in (program, *others) if shutil.which(name, path=_PLACES) is None]
    if missing:
        said = f"{' and '.join(missing)} not installed{why and ', ' + why}; `bash .ci/system` installs it"
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(said)
        pytest.skip(said)
    return Path(shutil.which(program, path=_PLACES) or program)
