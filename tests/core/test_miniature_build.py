"""The first miniature's build."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core.cli import main
from t2vu_core.errors import NotFinite, UserError
from t2vu_core.miniature.bundled import UNET_NAME, WEIGHTS
from t2vu_core.miniature.world import SECOND, STYLE, STYLES, SUBJECTS, sample_labels, sample_labels_without, shows
from t2vu_core.miniature_build import progress
from t2vu_core.miniature_build.architecture import make_scheduler, make_text_encoder, make_tokenizer
from t2vu_core.miniature_build.build import NAME, BuildPlan, build_without, export, train_further
from t2vu_core.miniature_build.optimizers import Optimizers
from t2vu_core.miniature_build.stages import new_folder
from t2vu_core.miniature_build.train_denoiser import encode_clips
from t2vu_core.miniature_build.train_text_encoder import train_text_encoder
from t2vu_core.miniature_build.unet.build import UNetBuildPlan, export_unet
from t2vu_core.model import load_model

GHOST = SUBJECTS.index("ghost")
LITTLE = BuildPlan(text_encoder_minutes=0.001, denoiser_minutes=0.001, num_clips=40)


def test_a_miniature_that_is_trained_further_keeps_its_vae_and_says_how_long(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / NAME, tmp_path / NAME)
    train_further(tmp_path, BuildPlan(num_clips=8), minutes=0.001, out=tmp_path)
    changed = {
        part: any(not torch.equal(tensor, before[name]) for name, tensor in load_file(file).items())
        for part in ("vae", "transformer", "text_encoder")
        for file in (tmp_path / NAME / part).glob("*.safetensors")
        for before in [load_file(WEIGHTS / NAME / part / file.name)]
    }
    assert changed == {"vae": False, "transformer": True, "text_encoder": True}
    installed, own = (json.loads((folder / NAME / "build.json").read_text()) for folder in (WEIGHTS, tmp_path))
    assert own == {**installed, "further_minutes": [*installed.get("further_minutes", []), 0.001]}
    scales = [load_model(str(folder / NAME)).family.pipeline.vae.config.scaling_factor for folder in (WEIGHTS, tmp_path)]
    assert scales[0] == scales[1]
    assert (tmp_path / NAME / "prompts.json").is_file()
    assert not [path for path in (tmp_path / NAME).rglob("*.json") if str(tmp_path) in path.read_text(encoding="utf-8")]


def test_who_favours_a_subject_sees_it_twice_as_often() -> None:
    drawn = sample_labels(6000, torch.Generator().manual_seed(0), two_subjects=0.0, empty=0.0, favour=("ghost",))[:, 0]
    counts = torch.bincount(drawn, minlength=len(SUBJECTS)).float()
    others = counts[torch.arange(len(SUBJECTS)) != GHOST].mean()
    assert 1.8 < counts[GHOST] / others < 2.2


def test_a_build_stops_where_its_gradients_are_not_numbers() -> None:
    """It would go on for hours and leave weights that draw nothing."""
    weight = torch.nn.Parameter(torch.ones(2, 2))
    optimizers = Optimizers([weight], [{"params": [torch.nn.Parameter(torch.ones(2))], "lr": 1e-2}])
    with pytest.raises(NotFinite, match="gradients became nan"):
        optimizers.step((weight * float("nan")).sum(), factor=1.0)
    assert torch.equal(weight, torch.ones(2, 2))


@pytest.mark.parametrize("bf16", [True, False])
def test_a_long_build_is_compiled_in_float32_only(bf16: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """In bf16 the compiled denoiser's gradients are NaN on a processor with AVX-512."""
    monkeypatch.setattr(progress, "fast_bf16", lambda _device: bf16)
    monkeypatch.setattr(progress.shutil, "which", lambda _name: "g++")
    compiled: list[bool] = []
    module = torch.nn.Linear(2, 2)
    monkeypatch.setattr(module, "compile", lambda: compiled.append(True))
    progress.compile_for(module, progress.MINUTES_WORTH_COMPILING)
    progress.compile_for(module, progress.MINUTES_WORTH_COMPILING / 2)
    assert compiled == ([] if bf16 else [True])


def test_a_favoured_name_that_the_world_does_not_have_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no subject 'unicorn'; it has ghost"):
        train_further(tmp_path, LITTLE, minutes=1, out=tmp_path / "nothing", favour=("unicorn",))


def test_an_export_that_cannot_read_its_parts_leaves_what_is_installed(tmp_path: Path) -> None:
    work, out = tmp_path / "work", tmp_path / "out"
    for part in ("pipeline", "image/vae"):
        (work / part).mkdir(parents=True)
    stages = ("vae", "detector", "text_encoder", "denoiser", "frames", "image", "motion")
    (work / "seconds.json").write_text(json.dumps(dict.fromkeys(stages, 1)), encoding="utf-8")
    for name in (NAME, UNET_NAME):
        (out / name).mkdir(parents=True)
        (out / name / "model_index.json").write_text("{}", encoding="utf-8")
    with pytest.raises(OSError, match="pipeline"):
        export(work, BuildPlan(), out)
    with pytest.raises(OSError, match="image"):
        export_unet(work, UNetBuildPlan(), out)
    assert all((out / name / "model_index.json").is_file() for name in (NAME, UNET_NAME))


def test_installed_weights_are_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "miniature"
    target.mkdir()
    (target / "model_index.json").write_text("old", encoding="utf-8")

    def half_of_it() -> None:
        with new_folder(target) as folder:
            (folder / "model_index.json").write_text("new", encoding="utf-8")
            assert list(tmp_path.glob("*/model_index.json")) == [target / "model_index.json"]
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        half_of_it()
    assert (target / "model_index.json").read_text(encoding="utf-8") == "old"
    with new_folder(target) as folder:
        (folder / "model_index.json").write_text("new", encoding="utf-8")
    assert (target / "model_index.json").read_text(encoding="utf-8") == "new"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.parametrize("concept", ["ghost", "noir"])
def test_what_a_model_never_knew_is_in_none_of_its_clips_and_captions(concept: str) -> None:
    usual = sample_labels(600, torch.Generator().manual_seed(0), two_subjects=0.25)
    assert shows(usual, concept).sum() > 40, "the concept is rare anyway: the rest proves nothing"
    rows = sample_labels_without(concept, 600, torch.Generator().manual_seed(0), two_subjects=0.25)
    assert len(rows) == 600
    assert not shows(rows, concept).any()
    assert (rows[:, SECOND] >= 0).sum() > 80, "clips of two subjects are left"
    others = sample_labels_without(None, 600, torch.Generator().manual_seed(0), two_subjects=0.25)
    assert torch.equal(others, usual)


def test_clips_without_a_concept_are_encoded_without_it() -> None:
    vae = load_model(NAME).family.pipeline.vae
    clips = encode_clips(vae, 200, seed=1, keep_scale=True, without="ghost")
    labels = torch.tensor(clips.labels)
    assert len(clips.latents) == len(labels) == 200
    assert not shows(labels, "ghost").any()
    assert set(labels[:, 0].tolist()) == {*range(-1, len(SUBJECTS))} - {GHOST}
    assert set(labels[:, STYLE].tolist()) == set(range(len(STYLES)))


def test_a_text_encoder_without_a_concept_never_touches_its_word() -> None:
    tokenizer = make_tokenizer(seed=0)
    torch.manual_seed(0)
    encoder = make_text_encoder(len(tokenizer))
    before = encoder.get_input_embeddings().weight.detach().clone()
    train_text_encoder(encoder, tokenizer, minutes=0.02, seed=0, without="ghost")
    moved = (encoder.get_input_embeddings().weight.detach() - before).abs().amax(1)
    (word,) = tokenizer("ghost", add_special_tokens=False).input_ids
    (other,) = tokenizer("robot", add_special_tokens=False).input_ids
    assert moved[word] == 0
    assert moved[other] > 0


def test_a_model_that_never_knew_a_concept_is_built_next_to_the_installed_one(tmp_path: Path) -> None:
    out = build_without("ghost", tmp_path / "work", LITTLE, tmp_path / "never")
    model, installed = load_model(str(out)), load_model(NAME)
    assert model.base.hash != installed.base.hash
    ours, theirs = (m.family.pipeline.vae.state_dict() for m in (model, installed))
    assert all(torch.equal(ours[name], value) for name, value in theirs.items())
    assert model.family.pipeline.vae.config.scaling_factor == installed.family.pipeline.vae.config.scaling_factor
    assert model.family.pipeline.scheduler.config.prediction_type == make_scheduler().config.prediction_type
    assert json.loads((out / "build.json").read_text())["without"] == "ghost"
    assert model.sample("a ghost", num_inference_steps=2).isfinite().all()
    made = (out / "build.json").stat().st_mtime_ns
    assert set(json.loads((tmp_path / "work" / "without-ghost" / "seconds.json").read_text())) == {
        "vae",
        "text_encoder",
        "denoiser",
    }
    build_without("ghost", tmp_path / "work", LITTLE, tmp_path / "never")
    assert (out / "build.json").stat().st_mtime_ns > made, "a finished build is put in its place again, without training"


def test_a_training_of_the_denoiser_that_was_interrupted_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(progress, "MINUTES_BETWEEN_STATES", 0.0)
    counted, plan = progress.Progress.end, replace(LITTLE, denoiser_minutes=0.2)

    def interrupted(self: progress.Progress, loss: float) -> None:
        counted(self, loss)
        if self.step == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(progress.Progress, "end", interrupted)
        with pytest.raises(KeyboardInterrupt):
            build_without("noir", tmp_path / "work", plan, tmp_path / "out")
    caplog.set_level("INFO")
    build_without("noir", tmp_path / "work", plan, tmp_path / "out")
    assert "denoiser goes on from step 2" in caplog.text
    assert not list((tmp_path / "work").rglob("*.pt")), "a finished stage needs no state"


def test_a_model_without_a_concept_is_refused_where_it_would_replace_another(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="has no 'unicorn'; it has ghost"):
        build_without("unicorn", tmp_path, LITTLE, tmp_path / "never")
    shutil.copytree(WEIGHTS / NAME, tmp_path / NAME)
    with pytest.raises(UserError, match="is there already; name a new folder"):
        build_without("ghost", tmp_path / "work", LITTLE, tmp_path / NAME)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--without", "ghost"], "--without needs --out"),
        (["--out", "somewhere"], "--out needs --without"),
        (["--without", "ghost", "--out", "x", "--further", "1"], "leave --further out"),
        (["--favour", "ghost"], "name its minutes with --further"),
        (["--without", "ghost", "--out", "x", "--name", "miniature-unet"], "--without is for --name miniature only"),
    ],
)
def test_options_of_a_build_that_contradict_each_other_are_named(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["miniature", "build", *arguments]) == 2
    assert says in capsys.readouterr().err
