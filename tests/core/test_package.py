"""What a release consists of: one version everywhere, versions of other packages that are tested, no tests in the pack."""

from __future__ import annotations

import re
import subprocess
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

import t2vu_core

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def versions(name: str) -> dict[str, Version]:
    """Exact versions by package."""
    return {package: Version(version) for package, version in re.findall(r"(?m)^([\w.-]+)==(\S+)$", read(name))}


def test_the_version_is_the_same_everywhere_and_the_changelog_has_it() -> None:
    version = PROJECT["version"]
    assert t2vu_core.__version__ == version
    assert yaml.safe_load(read("CITATION.cff"))["version"] == version
    released = re.findall(r"(?m)^## \[(\d[\d.]*)\]", read("CHANGELOG.md"))
    assert released[0] == version
    assert sorted(released, key=Version, reverse=True) == released


def test_the_minimums_that_are_tested_are_those_that_are_declared() -> None:
    minimums, torch = versions("minimums.txt"), versions("constraints.txt")["torch"]
    for text in PROJECT["dependencies"]:
        declared = Requirement(text)
        (lowest,) = [Version(each.version) for each in declared.specifier if each.operator == ">="]
        assert minimums[declared.name] == (torch if declared.name == "torch" else lowest), declared.name


def test_a_package_for_the_registry_holds_what_runs_and_nothing_else() -> None:
    def tracked(*options: str) -> set[str]:
        listed = subprocess.run(["git", "ls-files", *options], cwd=ROOT, capture_output=True, text=True, check=True)
        return set(listed.stdout.splitlines())

    if not (ROOT / ".git").exists():
        pytest.skip("this is not a git checkout")
    left_out = tracked("--cached", "--ignored", "--exclude-from=.comfyignore")
    packed = tracked() - left_out
    assert {path.split("/")[0] for path in packed if "/" in path} == {
        "example_workflows",
        "locales",
        "nodes",
        "subgraphs",
        "t2vu_core",
        "web",
        "workflows",
    }
    assert {path for path in packed if "/" not in path} == {
        "__init__.py",
        "pyproject.toml",
        "requirements.txt",
        "README.md",
        "CHANGELOG.md",
        "CITATION.cff",
        "LICENSE",
        "NOTICE",
    }
    assert "t2vu_core/miniature/weights/detector.safetensors" in packed
