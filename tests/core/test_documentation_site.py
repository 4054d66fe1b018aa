"""The documentation site: it builds, holds the help pages and the reference, and the examples run."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.core.tiny_models import TINY_MODELS
from tools.comfyui.server import REPOSITORY

TRAINED = ["erase_velocity", "unlearn_encoder", "several_concepts", "measure"]
ON_THE_MINIATURE = ("unlearn_encoder",)
"""The others run on a tiny model: the trajectories of `quick` take a minute on the miniature."""


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built from a copy of the sources."""
    copy = tmp_path_factory.mktemp("site")
    # Copies: through a link to mkdocs.yml the site would be built in the repository.
    for name in ("docs", "web"):
        shutil.copytree(REPOSITORY / name, copy / name)
    shutil.copy(REPOSITORY / "mkdocs.yml", copy)
    (copy / "t2vu_core").symlink_to(REPOSITORY / "t2vu_core")
    done = subprocess.run(
        [sys.executable, "-m", "zensical", "build", "--clean"], cwd=copy, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    return copy / "build" / "site"


def test_the_reference_shows_what_the_package_exports(site: Path) -> None:
    page = (site / "reference" / "training" / "index.html").read_text(encoding="utf-8")
    for name in ("ConceptRequest", "VelocityRecipe", "erase_velocity", "FewShotRecipe", "unlearn_encoder"):
        assert f".{name}" in page


def test_every_node_has_a_page_made_from_its_help(site: Path) -> None:
    for help_page in (REPOSITORY / "web" / "docs").glob("*.md"):
        page = (site / "nodes" / help_page.stem / "index.html").read_text(encoding="utf-8")
        title = help_page.read_text(encoding="utf-8").splitlines()[0].removeprefix("# ")
        assert f">{title}<" in page, help_page.stem


def test_the_readme_stays_short() -> None:
    assert len((REPOSITORY / "README.md").read_text(encoding="utf-8").split()) <= 1000


@pytest.mark.parametrize("name", TRAINED)
def test_an_example_runs_and_says_what_it_wrote(name: str, tmp_path: Path) -> None:
    few = ["--clips", "1"] if name == "measure" else []
    if name not in ON_THE_MINIATURE:
        few += ["--model", str(TINY_MODELS["cogvideox-2b"].folder)]
    printed = _example(name, "--out", str(tmp_path / name), "--steps", "2", *few)
    written = [Path(line.split(": ")[0]) for line in printed.splitlines() if line.startswith(str(tmp_path))]
    assert written
    assert all(path.stat().st_size > 0 for path in written)


def test_the_example_of_the_guards_writes_one_clip(tmp_path: Path) -> None:
    _example("guards", "--out", str(tmp_path / "guards.mp4"), "--steps", "2")
    assert (tmp_path / "guards.mp4").stat().st_size > 0


def _example(name: str, *options: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    command = [sys.executable, str(REPOSITORY / "examples" / f"{name}.py"), *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
