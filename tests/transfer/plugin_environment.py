"""An environment of its own in which a package of somebody else is installed and removed by pip."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import venv
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
SECONDS = 120


def example() -> str:
    """The handler of docs/handler-plugins.md, as a reader copies it."""
    found = re.search(r"```python\n(.*?)```", (ROOT / "docs/handler-plugins.md").read_text(), re.DOTALL)
    assert found is not None
    return found[1]


@dataclass(frozen=True)
class PluginEnvironment:
    """A Python that has this package and what it needs, and packages of others besides."""

    directory: Path
    variables: dict[str, str] = field(default_factory=dict)

    @property
    def python(self) -> Path:
        return self.directory / "bin" / "python"

    def create(self) -> PluginEnvironment:
        venv.create(self.directory, symlinks=True)
        (packages,) = (self.directory / "lib").glob("*/site-packages")
        ours = [path for path in sys.path if path.endswith("site-packages")]
        lines = [f"import site; site.addsitedir({path!r})" for path in ours]
        (packages / "ours.pth").write_text("\n".join([*lines, str(ROOT), ""]))
        return self

    def install(self, name: str, modules: Mapping[str, str], entries: Mapping[str, str], version: str = "1.0") -> None:
        """Install a package with these modules and entry points, from a wheel."""
        pure = name.replace("-", "_")
        wheel = self.directory / f"{pure}-{version}-py3-none-any.whl"
        info = f"{pure}-{version}.dist-info"
        points = "\n".join(["[broker_plane.handlers]", *(f"{key} = {value}" for key, value in entries.items())])
        files = {
            **{f"{module}.py": source for module, source in modules.items()},
            f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: a-test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/entry_points.txt": points + "\n",
        }
        with zipfile.ZipFile(wheel, "w") as archive:
            for path, text in files.items():
                archive.writestr(path, text)
            archive.writestr(f"{info}/RECORD", "".join(f"{path},,\n" for path in [*files, f"{info}/RECORD"]))
        self.pip("install", "--no-deps", "--no-index", "--no-compile", str(wheel))

    def pip(self, *arguments: str) -> None:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(self.python)]
        subprocess.run([*command, *arguments, "--quiet"], check=True, timeout=SECONDS)

    def run(self, *arguments: str | Path, **variables: str) -> subprocess.CompletedProcess[str]:
        """Run its Python; `variables` come besides those of the environment."""
        return subprocess.run(
            [self.python, *arguments],
            env={**os.environ, **self.variables, **variables},
            cwd=self.directory,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )

    def answer(self, source: str, *arguments: str | Path, **variables: str) -> Any:
        """What a program prints as JSON."""
        done = self.run("-c", source, *arguments, **variables)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)
