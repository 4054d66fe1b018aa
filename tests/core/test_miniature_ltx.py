"""miniature-ltx as a bundled model: it loads, is judged by its own world's detector and prompts, and its card is honest."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core import T2VModel, UserError, load_model
from t2vu_core.cli import main
from t2vu_core.evaluation.checks import prompts_for
from t2vu_core.evaluation.detectors import WorldDetector, open_detector
from t2vu_core.families.clip_size import ClipSize
from t2vu_core.miniature.bundled import LTX_NAME, WEIGHTS, bundled_names
from t2vu_core.miniature.captions import REGISTERS
from t2vu_core.miniature.detector import detector_path, load_detector
from t2vu_core.miniature.worlds import WORLD_32, WORLD_64
from t2vu_core.miniature_build import card
from t2vu_core.miniature_build.check import check, measure_detector
from t2vu_core.miniature_build.check_short import short_clips
from t2vu_core.miniature_build.ltx.install import export_ltx, install

MEBIBYTE = 2**20
REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def model() -> T2VModel:
    return load_model(LTX_NAME, device="cpu")


def test_it_is_listed_and_makes_clips_of_64_pixels(model: T2VModel) -> None:
    assert LTX_NAME in bundled_names()
    assert model.family.name == "ltx"
    assert model.clip_size() == ClipSize(9, 64, 64)
    clip = model.sample("a ghost moving left under a starry night", num_inference_steps=2)
    assert clip.shape == (1, 9, 3, 64, 64)
    assert clip.std() > 0.05


def test_all_weights_of_the_package_fit_its_size() -> None:
    assert sum(file.stat().st_size for file in WEIGHTS.rglob("*.safetensors")) < 38 * MEBIBYTE
    assert not list((Path(card.__file__).parent).rglob("*.safetensors")), "one copy in the tree"


def test_its_world_decides_detector_and_prompts(model: T2VModel) -> None:
    detector = open_detector("miniature", model)
    assert isinstance(detector, WorldDetector)
    assert detector.world == WORLD_64
    assert prompts_for(None, model, "unicorn", detector).name == "v2/unicorn"
    small = load_model("miniature", device="cpu")
    assert WorldDetector.for_model(small).world == WorldDetector.for_model(None).world == WORLD_32
    assert prompts_for(None, small, "ghost", WorldDetector.for_model(small)).name == "v1/ghost"


def test_its_detector_is_as_good_as_asked() -> None:
    torch.manual_seed(0)
    found = measure_detector(load_detector(detector_path(WORLD_64)), num_clips=120)
    assert min(found[head] for head in ("subject", "style", "motion", "background")) >= 0.98, found
    assert max(share for name, share in found.items() if name.startswith("false_alarms")) <= 0.01, found


def test_the_check_measures_what_short_prompts_give(model: T2VModel) -> None:
    found = check(LTX_NAME, clips_per_register=1, renders=4, model=model)
    assert found["size"] == 64
    assert set(found["classes"]) == set(WORLD_64.classes)
    assert all(0 <= found[name] <= 1 for name in ("something", "at_guidance_1", "empty_scene"))
    assert found["clips"] == 4


@pytest.mark.parametrize("name", bundled_names())
def test_the_card_is_made_from_what_was_measured(name: str) -> None:
    stored = json.loads((WEIGHTS / name / "card.json").read_text(encoding="utf-8"))
    assert (WEIGHTS / name / "README.md").read_text(encoding="utf-8") == card.page(stored)


def test_the_card_says_that_it_is_not_finished_and_by_how_much() -> None:
    stored = json.loads((WEIGHTS / LTX_NAME / "card.json").read_text(encoding="utf-8"))
    short = card.unfinished(stored["measured"])
    assert {"subject", "something"} <= set(short)
    page = card.page(stored)
    assert "**Not finished.**" in page
    assert all(f"{name} {found:.1%} of {asked:.0%}" in page for name, (found, asked) in short.items())
    share = dict.fromkeys(("subject", "style", "motion", "background"), 1.0)
    done = dict.fromkeys(("something", "empty_scene"), 1.0)
    finished = {"size": 64, "fidelity": {"terse": share, "two_subject": share}, "classes": {"toy": 1.0}, **done}
    assert card.unfinished(finished) == {}
    assert card.unfinished({**finished, "something": 0.89}) == {"something": (0.89, 0.9)}


def test_the_documents_that_name_its_shortfall_have_the_figures_of_the_card() -> None:
    """Its users meet them in a template, on a node and in the limits, not on the card."""
    measured = json.loads((WEIGHTS / LTX_NAME / "card.json").read_text(encoding="utf-8"))["measured"]
    named = [scores["subject"] for register, scores in measured["fidelity"].items() if register != "two_subject"]
    subject = f"a named subject in {100 * min(named):.0f} to {100 * max(named):.0f} % of clips"
    two = f"two subjects in {measured['fidelity']['two_subject']['subject']:.0%}".replace("%", " %")
    something = f"something in {measured['something']:.0%}".replace("%", " %")
    classes = measured["classes"].values()
    members = f"in {100 * min(classes):.0f} to {100 * max(classes):.0f} %"
    figures = {
        "web/docs/T2VULoadMiniatureNative.md": (subject, two, something, members),
        "docs/limits.md": (subject, two, something, members),
        "example_workflows/erase_native.json": (subject, two, something, members),
        "nodes/load_miniature_native.py": (subject, two),
    }
    for path, expected in figures.items():
        text = " ".join(re.sub(r'["*\\]', "", (REPOSITORY / path).read_text(encoding="utf-8")).split())
        assert [figure for figure in expected if figure not in text] == [], path


def test_the_card_says_of_how_many_clips_its_shares_are() -> None:
    """`check` measures short prompts with half as many clips as a register."""
    stored = json.loads((WEIGHTS / LTX_NAME / "card.json").read_text(encoding="utf-8"))
    each = short_clips(stored["measured"]["clips"] // (len(REGISTERS) + 1))
    assert each == 32
    assert f"Shares of {each} clips each" in card.page(stored)


def test_its_prompts_name_all_24_subjects_with_seen_words_only(model: T2VModel) -> None:
    prompts = json.loads((WEIGHTS / LTX_NAME / "prompts.json").read_text(encoding="utf-8"))
    assert {*WORLD_64.subjects} <= set(prompts["names"])
    assert all("{}" in text for text in (*prompts["things"], *prompts["manners"]))
    assert len(prompts["preserve"]) == 400


def test_an_installed_build_is_the_same_model(tmp_path: Path, model: T2VModel) -> None:
    parts, folder = tmp_path / "parts", WEIGHTS / LTX_NAME
    parts.mkdir()
    for name, file in {
        "transformer": "diffusion_pytorch_model.safetensors", "vae": "diffusion_pytorch_model.safetensors",
        "text_encoder": "model.safetensors",
    }.items():  # fmt: skip
        (parts / f"{name}.safetensors").write_bytes((folder / name / file).read_bytes())
    (parts / "tokenizer.json").write_bytes((folder / "tokenizer" / "tokenizer.json").read_bytes())
    install(parts, {"seconds": {}}, tmp_path / "out" / LTX_NAME)
    for file in folder.rglob("*.safetensors"):
        ours, theirs = load_file(file), load_file(tmp_path / "out" / LTX_NAME / file.relative_to(folder))
        assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert load_model(tmp_path / "out" / LTX_NAME, device="cpu").base.hash == model.base.hash


def test_a_build_that_is_not_finished_is_not_installed(tmp_path: Path) -> None:
    (tmp_path / "facts.json").write_text(json.dumps({"seconds": {"vae": 1, "detector": 1}}), encoding="utf-8")
    with pytest.raises(UserError, match="denoiser is missing"):
        export_ltx(tmp_path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("option", [["--without", "ghost", "--out", "x"], ["--further", "3"]])
def test_options_of_the_first_miniature_are_refused(option: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["miniature", "build", "--name", LTX_NAME, *option]) == 2
    assert f"{option[0]} is for --name miniature only" in capsys.readouterr().err
