"""Write constraints.txt: the versions with which the tests of this commit passed.

    .venv/bin/python .ci/constraints.py > constraints.txt

Names and versions only, without addresses or hashes: `pip install -c constraints.txt broker-plane` then installs these
versions from whichever index pip is configured for. What is listed is what this environment has of the project's
dependencies, those of all its extras included.
"""

from __future__ import annotations

import sys
import tomllib
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
OURS = "broker-plane"


def pinned(wanted: list[Requirement]) -> dict[str, str]:
    """Installed versions by name: of `wanted`, and of what these depend on."""
    found: dict[str, str] = {}
    seen: set[tuple[str, str]] = set()
    while wanted:
        requirement = wanted.pop()
        name = canonicalize_name(requirement.name)
        for extra in ("", *sorted(requirement.extras)):
            if name == OURS or (name, extra) in seen:
                continue
            seen.add((name, extra))
            try:
                installed = distribution(name)
            except PackageNotFoundError:
                continue
            found[name] = installed.version
            needs = map(Requirement, installed.requires or ())
            wanted += [each for each in needs if each.marker is None or each.marker.evaluate({"extra": extra})]
    return found


if __name__ == "__main__":
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    listed = [
        *project["dependencies"],
        *(text for extra in project["optional-dependencies"].values() for text in extra),
    ]
    versions = pinned([each for each in map(Requirement, listed) if each.marker is None or each.marker.evaluate()])
    number = ".".join(map(str, sys.version_info[:2]))
    sys.stdout.write(
        f"# Made by .ci/constraints.py, with Python {number}. Use: pip install -c constraints.txt broker-plane\n"
    )
    sys.stdout.writelines(f"{name}=={versions[name]}\n" for name in sorted(versions))
