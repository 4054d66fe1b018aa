"""The package that the ComfyUI registry gets, and what in it is made from one source."""

from __future__ import annotations

import json
import zipfile

import pytest

from tools.help_pictures import CHINESE, FOLDERS, PLACES, in_chinese, picture
from tools.package import MOST_MB, REPOSITORY, build

TEMPLATES = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("*.json"))
HELP = REPOSITORY / "web" / "docs"


@pytest.fixture(scope="module")
def names(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    archive = build(tmp_path_factory.mktemp("package") / "node.zip")
    assert archive.stat().st_size < MOST_MB * 1e6
    with zipfile.ZipFile(archive) as packed:
        return packed.namelist()


def test_the_package_has_no_tests_and_no_benchmarks(names: list[str]) -> None:
    assert not [name for name in names if name.startswith(("tests/", "benchmarks/", "tools/", "docs/", ".ci/"))]


def test_the_package_has_what_comfyui_reads(names: list[str]) -> None:
    wanted = ["__init__.py", "pyproject.toml", "requirements.txt", "nodes/extension.py", "web/js/t2v_unlearning.js"]
    wanted += ["subgraphs/Erase.json", "locales/zh/nodeDefs.json", "web/images/icon.svg", "web/docs/T2VULoadModel/zh.md"]
    wanted += [f"example_workflows/{name}{suffix}" for name in TEMPLATES for suffix in (".json", ".jpg", ".webp")]
    wanted += ["t2vu_core/miniature/weights/miniature/transformer/diffusion_pytorch_model.safetensors"]
    assert not set(wanted) - set(names)


def test_every_help_page_has_its_picture() -> None:
    """`python -m tools.help_pictures` draws them."""
    assert {path.stem for path in HELP.glob("*.md")} == set(PLACES)
    for node, place in PLACES.items():
        assert f"(pictures/{node}.svg)" in (HELP / f"{node}.md").read_text(encoding="utf-8")
        for folder in FOLDERS:
            assert (folder / f"{node}.svg").read_text(encoding="utf-8") == picture(place)
    for node, place in in_chinese().items():
        assert f"(pictures/zh/{node}.svg)" in (HELP / node / "zh.md").read_text(encoding="utf-8")
        assert (CHINESE / f"{node}.svg").read_text(encoding="utf-8") == picture(place)


def test_help_pages_have_no_tables() -> None:
    """Help opens in a panel of 320 pixels and less, which cuts them."""
    assert not [path for path in HELP.rglob("*.md") if "\n|" in path.read_text(encoding="utf-8")]


def test_the_blueprint_names_the_pack_and_its_version() -> None:
    blueprint = json.loads((REPOSITORY / "subgraphs" / "Erase.json").read_text(encoding="utf-8"))
    (inside,) = blueprint["definitions"]["subgraphs"]
    for node in [*blueprint["nodes"], *inside["nodes"]]:
        assert node["properties"]["cnr_id"] == "t2v-unlearning"
        assert f'version = "{node["properties"]["ver"]}"' in (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
