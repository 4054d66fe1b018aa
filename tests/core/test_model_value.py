"""A model is a value: erasures never change it, and wrong input is refused in one sentence."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from t2vu_core.erasure import Base
from t2vu_core.errors import Cancelled, UserError, first_line
from t2vu_core.model import SampleStep, T2VModel, load_model
from tests.core.tiny_models import TINY_MODELS, TinyModel

TINY = TINY_MODELS["cogvideox-2b"]


@pytest.fixture(scope="module")
def tiny() -> TinyModel:
    return TINY


def sample(model: T2VModel, seed: int = 0, **changes: object) -> torch.Tensor:
    return model.sample("a red ghost", seeds=seed, guidance_scale=3.0, **{**TINY.clip, **changes})  # type: ignore[arg-type]


def test_a_branch_without_the_erasure_is_bit_for_bit_what_it_was(tiny: TinyModel) -> None:
    before = sample(tiny.model)
    erased = tiny.model.with_erasure(tiny.random_erasure("bottleneck"))
    assert not torch.equal(sample(erased), before)
    assert torch.equal(sample(tiny.model), before)
    assert torch.equal(sample(erased.without_erasures()), before)


def test_strength_zero_is_the_base_and_strength_scales(tiny: TinyModel) -> None:
    erasure = tiny.random_erasure("bottleneck")
    base = sample(tiny.model)
    assert torch.equal(sample(tiny.model.with_erasure(erasure, 0.0)), base)

    def change(strength: float) -> torch.Tensor:
        model = tiny.model.with_erasure(erasure, strength)
        return tiny.first_site_output(model, "bottleneck") - tiny.first_site_output(tiny.model, "bottleneck")

    full = change(1.0)
    assert full.abs().max() > 1e-3
    for strength in (0.5, 2.0, -1.0):
        torch.testing.assert_close(change(strength), strength * full, atol=1e-5, rtol=1e-4)


def test_a_failure_while_sampling_leaves_no_hook_behind(tiny: TinyModel) -> None:
    before = sample(tiny.model)

    def stop(step: SampleStep) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        tiny.model.with_erasure(tiny.random_erasure("bottleneck")).sample("a ghost", on_step=stop, **TINY.clip)
    assert torch.equal(sample(tiny.model), before)


def test_cancel_stops_after_the_step_it_was_asked_in(tiny: TinyModel) -> None:
    seen: list[int] = []

    def stop(step: SampleStep) -> None:
        seen.append(step.step)
        raise Cancelled

    with pytest.raises(Cancelled):
        tiny.model.sample("a ghost", on_step=stop, **TINY.clip)
    assert seen == [1]


def test_a_clip_does_not_depend_on_its_batch(tiny: TinyModel) -> None:
    together = tiny.model.sample(["a red ghost", "a dog"], seeds=[5, 6], guidance_scale=3.0, **TINY.clip)
    assert torch.allclose(together[0], sample(tiny.model, seed=5)[0], atol=1e-5)


def test_an_erasure_for_another_base_is_refused_with_both_names(tiny: TinyModel) -> None:
    erasure = tiny.random_erasure("bottleneck")
    other = dataclasses.replace(erasure, base=Base("some-other-model", "cogvideox", "00" * 32))
    with pytest.raises(UserError, match="some-other-model.*cogvideox-2b"):
        tiny.model.with_erasure(other)
    allowed = tiny.model.with_erasure(other, allow_other_base=True)
    assert torch.equal(sample(allowed), sample(tiny.model.with_erasure(erasure)))
    with pytest.raises(UserError, match="wan family"):
        tiny.model.with_erasure(dataclasses.replace(erasure, base=Base("x", "wan", "00")))


@pytest.mark.parametrize("strength", ["strong", float("nan"), float("inf"), None])
def test_a_strength_that_is_not_a_number_is_refused(tiny: TinyModel, strength: object) -> None:
    with pytest.raises(UserError, match="strength must be a number"):
        tiny.model.with_erasure(tiny.random_erasure("bottleneck"), strength)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "hint"),
    [
        ({"width": 50}, "multiples of"),
        ({"height": -8}, "multiples of"),
        ({"num_frames": 6}, "for example 1 or 9"),
        ({"num_frames": 4001, "width": 64000, "height": 64000}, "too large"),
        ({"num_inference_steps": 0}, "steps must be"),
    ],
)
def test_impossible_sizes_are_refused_with_possible_ones(tiny: TinyModel, change: dict, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        sample(tiny.model, **change)


def test_as_many_seeds_as_prompts_are_needed(tiny: TinyModel) -> None:
    with pytest.raises(UserError, match="2 prompts need as many seeds; 1"):
        tiny.model.sample(["a", "b"], seeds=[1], **TINY.clip)


def test_an_unknown_name_says_which_models_ship() -> None:
    with pytest.raises(UserError, match=r"no model 'nonesuch'.*miniature"):
        load_model("nonesuch")


def test_a_folder_that_is_not_a_model_says_what_is_missing(tiny: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no model_index.json"):
        load_model(tmp_path)
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    shutil.rmtree(folder / "vae")
    with pytest.raises(UserError, match="vae is missing"):
        load_model(folder)
    (folder / "model_index.json").write_text("{")
    with pytest.raises(UserError, match="cannot be read"):
        load_model(folder)
    (folder / "model_index.json").write_text(json.dumps({"_class_name": "FluxPipeline"}))
    with pytest.raises(UserError, match="FluxPipeline; known are"):
        load_model(folder)


@pytest.mark.parametrize(
    ("name", "component", "hint"),
    [
        ("cogvideox-2b", "tokenizer", "its tokenizer lacks tokenizer.json, or spiece.model in its place"),
        ("animatediff", "tokenizer", "its tokenizer lacks tokenizer.json, or merges.txt and vocab.json in its place"),
        ("hunyuan-video", "tokenizer_2", "its tokenizer_2 lacks tokenizer.json"),
        ("hunyuan-video", "text_encoder_2", "its text_encoder_2 lacks config.json"),
    ],
)
def test_a_tokenizer_or_encoder_without_its_files_is_named_with_what_is_missing(
    name: str, component: str, hint: str, tmp_path: Path
) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(TINY_MODELS[name].folder, folder)
    for file in (folder / component).glob("*.json"):
        file.unlink()
    with pytest.raises(UserError, match=hint):
        load_model(folder, device="cpu")


@pytest.mark.parametrize("tiny", TINY_MODELS.values(), ids=lambda tiny: tiny.name)
def test_whole_files_are_not_said_to_lack_weights(tiny: TinyModel, caplog: pytest.LogCaptureFixture) -> None:
    load_model(tiny.folder, device="cpu")
    assert not [record for record in caplog.records if record.name.startswith("t2vu_core")]


def without_a_weight(component: str, folder: Path) -> Path:
    shutil.copytree(TINY.folder, folder)
    (file,) = (folder / component).glob("*.safetensors")
    weights = load_file(file)
    del weights[next(name for name, value in weights.items() if name.endswith("weight") and value.ndim == 2)]
    save_file(weights, file, metadata={"format": "pt"})
    return folder


def test_an_encoder_with_random_weights_is_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = without_a_weight("text_encoder", tmp_path / "copy")
    load_model(folder, device="cpu")
    (said,) = caplog.messages
    assert said.startswith(f"Files of the text_encoder in {folder} lack some of its weights: they are random now")


def test_a_denoiser_whose_files_lack_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"its transformer lack weights \(\S+weight\)\. Download these files again"):
        load_model(without_a_weight("transformer", tmp_path / "copy"), device="cpu")


def test_what_a_library_says_in_a_list_is_told_whole() -> None:
    assert first_line(ValueError("no tokenizer from one of: \n(1) a file\n(2) a class\n")) == (
        "no tokenizer from one of: (1) a file (2) a class"
    )
    assert first_line(ValueError("one\ntwo")) == "one"
    assert first_line(ValueError()) == "ValueError"


def test_damaged_weights_are_named_and_never_unpickled(tiny: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    weights = folder / "transformer" / "diffusion_pytorch_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(folder)


def test_a_folder_with_its_own_code_never_runs_it(tiny: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    index = json.loads((folder / "model_index.json").read_text())
    (folder / "model_index.json").write_text(json.dumps({**index, "transformer": ["shipped", "Transformer"]}))
    (folder / "transformer" / "shipped.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')")
    with pytest.raises(UserError, match=r"its own code \(transformer/shipped.py\)"):
        load_model(folder)
    assert not (tmp_path / "ran").exists()


def test_settings_that_do_not_fit_the_weights_are_answered_in_a_sentence(tiny: TinyModel, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    shutil.copytree(tiny.folder, folder)
    config = folder / "transformer" / "config.json"
    settings = json.loads(config.read_text())
    config.write_text(json.dumps({**settings, "num_layers": "two"}))
    with pytest.raises(UserError, match="cannot be loaded"):
        load_model(folder)


def test_a_model_loaded_in_inference_mode_can_still_be_trained_on(tiny: TinyModel) -> None:
    with torch.inference_mode():
        model = load_model(tiny.folder, device="cpu")
        model = model.with_erasure(tiny.random_erasure("bottleneck"))
    assert not any(parameter.is_inference() for parameter in model.family.pipeline.transformer.parameters())
    assert not any(parameter.is_inference() for parameter in model.erasures[0].erasers.parameters())


def test_a_clip_too_large_to_decode_whole_is_decoded_in_tiles(tiny: TinyModel, monkeypatch: pytest.MonkeyPatch) -> None:
    vae = tiny.model.family.pipeline.vae
    whole = tiny.sample_ours(tiny.model, ["a ghost"], [1], 1.0)
    decode = vae.decode

    def too_small(*args: Any, **kwargs: Any) -> Any:
        if not vae.use_tiling:
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return decode(*args, **kwargs)

    monkeypatch.setattr(vae, "decode", too_small)
    assert tiny.sample_ours(tiny.model, ["a ghost"], [1], 1.0).shape == whole.shape
    assert not vae.use_tiling, "the next clip may fit"
