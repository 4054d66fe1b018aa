"""The second miniature: its parts load in stock pipelines, its build resumes, and each stage trains what it should."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from diffusers import AnimateDiffPipeline, StableDiffusionPipeline, UNetMotionModel
from safetensors import safe_open

from t2vu_core.commands import models
from t2vu_core.errors import UserError
from t2vu_core.families import ClipSize
from t2vu_core.image_model import load_image_model
from t2vu_core.miniature import bundled, world
from t2vu_core.miniature.captions import REGISTERS, caption
from t2vu_core.miniature.detector import MiniatureDetector
from t2vu_core.miniature_build import architecture as t5
from t2vu_core.miniature_build import card, optimizers
from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.miniature_build.check import measure_images
from t2vu_core.miniature_build.noising import weighted_error
from t2vu_core.miniature_build.optimizers import Optimizers, orthogonalised, split
from t2vu_core.miniature_build.principal_components import components, least_squares
from t2vu_core.miniature_build.progress import MINUTES_BETWEEN_STATES, Progress
from t2vu_core.miniature_build.train_denoiser import plain_attention
from t2vu_core.miniature_build.unet import architecture, train_image
from t2vu_core.miniature_build.unet.build import UNetBuildPlan, build_unet, export_unet
from t2vu_core.miniature_build.unet.train_vae import initialise_encoder, reconstruction_error, sample_frames, train_vae
from t2vu_core.model import load_model
from tests.core.tiny_tokenizers import FROM_FILES

INSTANT = 1e-5
PLAN = UNetBuildPlan(
    vae_minutes=INSTANT, text_encoder_minutes=INSTANT, image_minutes=INSTANT, motion_minutes=INSTANT, num_clips=64,
    num_captions=300, batch_size=2, clips_per_batch=1,
)  # fmt: skip


pytestmark = pytest.mark.skipif(FROM_FILES, reason="the second miniature is built with transformers 5")


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A build of one step a stage."""
    work = tmp_path_factory.mktemp("build")
    build_unet(work, PLAN)
    return work


@pytest.fixture(scope="module")
def exported(work: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export_unet(work, PLAN, tmp_path_factory.mktemp("weights")).parent


@pytest.fixture
def weights(exported: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package in which the second miniature is built, but not trained."""
    monkeypatch.setattr(bundled, "WEIGHTS", exported)
    return exported


@pytest.fixture(scope="module")
def tokenizer() -> architecture.CLIPTokenizer:
    return architecture.make_tokenizer(num_captions=3000)


def test_one_folder_is_an_image_model_and_a_video_model_for_stock_diffusers(weights: Path) -> None:
    folder = weights / bundled.UNET_NAME
    image, video = (kind.from_pretrained(folder) for kind in (StableDiffusionPipeline, AnimateDiffPipeline))
    for pipeline in (image, video):
        pipeline.set_progress_bar_config(disable=True)
    drawn = image("a ghost", num_inference_steps=2, output_type="pt", generator=torch.Generator().manual_seed(0)).images
    clip = video(
        "a ghost",
        num_frames=world.NUM_FRAMES,
        num_inference_steps=2,
        output_type="pt",
        generator=torch.Generator().manual_seed(0),
    ).frames
    assert drawn.shape == (1, 3, world.SIZE, world.SIZE)
    assert clip.shape == (1, world.NUM_FRAMES, 3, world.SIZE, world.SIZE)
    assert sum(file.stat().st_size for file in folder.rglob("*") if file.is_file()) < 10 * 2**20


def test_the_bundled_names_give_both_models_which_share_the_text_encoder(weights: Path) -> None:
    model, image_model = load_model("miniature-unet", device="cpu"), load_image_model("miniature-unet-image", device="cpu")
    assert model.family.name == "animatediff"
    assert model.family.defaults.size == ClipSize(world.NUM_FRAMES, world.SIZE, world.SIZE)
    ours, theirs = (part.text_encoder.state_dict() for part in (model.family.pipeline, image_model.pipeline))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert load_image_model("miniature-unet", device="cpu").encoder_hash == image_model.encoder_hash
    assert model.sample("a ghost", num_inference_steps=1).shape == (1, world.NUM_FRAMES, 3, world.SIZE, world.SIZE)


def test_models_lists_the_video_model_with_its_image_model(weights: Path) -> None:
    listed = {model["name"]: model["image_model"] for model in models.run(SimpleNamespace())["bundled"]}
    assert listed == {"miniature-unet": "miniature-unet-image"}


@pytest.mark.parametrize(
    ("load", "name"),
    [(load_model, "miniature-unet"), (load_image_model, "miniature-unet"), (load_image_model, "miniature-unet-image")],
)
def test_without_weights_it_is_not_listed_and_the_error_says_how_to_build_it(
    load: Callable, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundled, "WEIGHTS", tmp_path)
    assert models.run(SimpleNamespace())["bundled"] == []
    with pytest.raises(UserError, match="t2vu miniature build --name miniature-unet"):
        load(name)


@pytest.mark.parametrize("shipped", [True, False], ids=["shipped", "built"])
def test_what_transformers_4_would_not_read_is_not_in_a_miniature(exported: Path, shipped: bool) -> None:
    """It has no class of transformers 5, reads CLIP's words from two files, and only finds weights by their released names."""
    weights = bundled.WEIGHTS if shipped else exported
    for path in weights.rglob("*.json"):
        assert "TokenizersBackend" not in path.read_text(encoding="utf-8"), path
    unet = weights / bundled.UNET_NAME
    with safe_open(str(unet / "text_encoder" / "model.safetensors"), framework="pt") as file:
        assert all(name.startswith("text_model.") for name in file.keys())  # noqa: SIM118
    model = json.loads((unet / "tokenizer" / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    assert json.loads((unet / "tokenizer" / "vocab.json").read_text(encoding="utf-8")) == model["vocab"]
    assert len((unet / "tokenizer" / "merges.txt").read_text(encoding="utf-8").splitlines()) - 1 == len(model["merges"])


def test_a_build_goes_on_where_it_stopped(work: Path, tmp_path: Path) -> None:
    seconds = json.loads((work / "seconds.json").read_text())
    assert list(seconds) == ["vae", "text_encoder", "frames", "image", "motion"]
    before = {file: file.stat().st_mtime_ns for file in work.rglob("*.safetensors")}
    (work / "seconds.json").write_text(json.dumps({name: seconds[name] for name in list(seconds)[:-1]}))
    with pytest.raises(UserError, match="motion is missing"):
        export_unet(work, PLAN, tmp_path)
    build_unet(work, PLAN)
    after = {file: file.stat().st_mtime_ns for file in work.rglob("*.safetensors")}
    assert {file.parent.name for file in after if after[file] != before[file]} == {"motion"}


def test_an_interrupted_stage_goes_on_from_its_last_state(tmp_path: Path) -> None:
    def training(seed: int) -> Progress:
        torch.manual_seed(seed)
        network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 3))
        matrices, rest = split(network, first_and_last=("1.",))
        average = MovingAverage(network.parameters(), decay=0.9)
        optimizers = Optimizers(matrices, [{"params": rest, "lr": 1e-2}])
        return Progress("image", 60.0, average, optimizers, state=tmp_path / "image.pt")

    def step(progress: Progress) -> list[torch.Tensor]:
        first, second = progress.average.parameters[0], progress.average.parameters[2]
        assert progress.begin()
        progress.optimizers.step((first.square().sum() - 1) ** 2 + (second.sum() - 1) ** 2, factor=0.5)
        progress.end(0.0)
        return [*progress.average.parameters, *progress.average.values]

    first = training(0)
    step(first)
    first.spent = 60 * MINUTES_BETWEEN_STATES
    step(first)
    resumed = training(1)
    assert (resumed.step, resumed.spent) == (2, first.spent)
    assert all(torch.equal(one, other) for one, other in zip(step(resumed), step(first), strict=True))


def test_clips_are_drawn_once_and_the_vae_keeps_the_scale_that_was_found(work: Path) -> None:
    drawn = train_image.EncodedFrames.load(work / "frames.safetensors")
    assert drawn.latents.shape[:2] == (PLAN.num_clips, world.NUM_FRAMES)
    assert drawn.latents.float().std() == pytest.approx(1.0, abs=0.02)
    config = json.loads((work / "image" / "vae" / "config.json").read_text())
    assert config["scaling_factor"] != 1.0


def test_the_text_encoder_starts_with_its_eyes_on_the_words_before(tokenizer: architecture.CLIPTokenizer) -> None:
    encoder = architecture.make_text_encoder(tokenizer).eval()
    encoder.set_attn_implementation("eager")
    ids = tokenizer(["a ghost and a cat"], padding="max_length", return_tensors="pt").input_ids
    first_layer = encoder(ids, output_attentions=True).attentions[0][0]
    for head, places in enumerate((1, 2)):
        behind = first_layer[head].diagonal(-places)[1:]
        assert behind.mean() > 4 * first_layer[2:].diagonal(-places, dim1=1, dim2=2)[:, 1:].mean()


def test_the_motion_stage_changes_the_adapter_and_nothing_else(work: Path, weights: Path) -> None:
    pipeline = AnimateDiffPipeline.from_pretrained(weights / bundled.UNET_NAME)
    untrained = UNetMotionModel.from_unet2d(architecture.make_unet(), architecture.make_motion_adapter())
    silent = [name for name, value in untrained.state_dict().items() if name.endswith("motion_modules.0.proj_out.weight")]
    assert silent
    trained = pipeline.unet.state_dict()
    assert all(trained[name].abs().max() > 0 for name in silent), "no step was made"
    image = StableDiffusionPipeline.from_pretrained(weights / bundled.UNET_NAME).unet.state_dict()
    assert all(torch.equal(trained[name], value) for name, value in image.items())


def test_before_training_the_vaes_encoder_is_nearly_as_good_as_principal_components() -> None:
    torch.manual_seed(0)
    frames = sample_frames(400, torch.Generator().manual_seed(0))
    vae = architecture.make_vae()
    initialise_encoder(vae, frames)
    places = torch.nn.functional.pixel_unshuffle(frames, architecture.SPATIAL_RATIO).movedim(1, -1).flatten(0, -2)
    mean, basis, _ = components(places, architecture.LATENT_CHANNELS)
    best = (places - mean - (places - mean) @ basis @ basis.T).square().mean()
    with torch.no_grad():
        latents = vae.encode(frames).latent_dist.mode()
    rows = latents.movedim(1, -1).flatten(0, -2)
    weight, bias = least_squares(rows, places)
    assert (rows @ weight.T + bias - places).square().mean() < 1.3 * best
    assert 0.8 < latents.std() < 1.2


def test_a_few_steps_teach_the_vaes_decoder_to_draw() -> None:
    torch.manual_seed(0)
    frames = sample_frames(64, torch.Generator().manual_seed(0))
    vae = architecture.make_vae()
    initialise_encoder(vae, frames)
    before = reconstruction_error(vae, frames)
    train_vae(vae, minutes=0.08, seed=0, batch_size=8, num_frames=64)
    assert reconstruction_error(vae, frames) < before


def test_captions_are_never_cut_and_unknown_words_are_still_read(tokenizer: architecture.CLIPTokenizer) -> None:
    rng = random.Random(0)
    rows = world.sample_labels(600, torch.Generator().manual_seed(0)).tolist()
    texts = [caption(row, rng, register=register) for row in rows for register in REGISTERS]
    assert max(len(ids) for ids in tokenizer(texts).input_ids) <= architecture.MAX_TEXT_TOKENS
    assert not any(tokenizer.unk_token_id in ids[1:-1] for ids in tokenizer(texts).input_ids)
    pieces = tokenizer("a xylophone", add_special_tokens=False).input_ids
    assert len(pieces) > 2
    assert tokenizer.unk_token_id not in pieces
    encoder = architecture.make_text_encoder(tokenizer)
    assert len(tokenizer) == encoder.config.vocab_size


@pytest.mark.parametrize("kind", ["clip", "t5"])
def test_training_reads_captions_as_the_pipelines_do(kind: str, tokenizer: architecture.CLIPTokenizer) -> None:
    """Quick attention must keep CLIP's causal mask and T5's positions, which reach it as masks."""
    encoder = architecture.make_text_encoder(tokenizer) if kind == "clip" else t5.make_text_encoder(len(tokenizer))
    ids = tokenizer(["a ghost moving left", "a cat"], padding="max_length", return_tensors="pt").input_ids
    with torch.no_grad():
        stock = encoder.eval()(ids)[0]
        with plain_attention():
            quick = encoder(ids)[0]
    torch.testing.assert_close(quick, stock, atol=1e-4, rtol=1e-4)


def test_single_frames_tell_left_from_right() -> None:
    drawn = train_image.draw_frames(4000, torch.Generator().manual_seed(0))
    assert drawn.float().mean() > 0.6 * (world.NUM_FRAMES - 1)
    assert set(drawn.tolist()) == set(range(world.NUM_FRAMES)), "early frames must be known too"


def test_the_loss_looks_harder_at_the_subjects() -> None:
    frames = train_image.encode_frames(architecture.make_vae(), 8, seed=0)
    assert frames.weights.shape == (8, world.NUM_FRAMES, 1, architecture.LATENT_SIZE, architecture.LATENT_SIZE)
    assert frames.weights.float().mean() == pytest.approx(1.0, abs=1e-3)
    corner, middle = frames.weights[..., 0, 0].mean(), frames.weights[..., 4, 4].mean()
    assert middle > 1.5 * corner
    still = torch.zeros(8, world.NUM_FRAMES, architecture.LATENT_CHANNELS, architecture.LATENT_SIZE, architecture.LATENT_SIZE)
    at_the_subject, in_a_corner = still.clone(), still.clone()
    at_the_subject[..., 4, 4], in_a_corner[..., 0, 0] = 1, 1
    errors = [weighted_error(each, still, frames.weights) for each in (at_the_subject, in_a_corner)]
    assert errors[0] > 1.5 * errors[1]


def test_muon_moves_the_kernels_themselves_and_one_step_lowers_the_loss() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.SiLU(), torch.nn.Conv2d(8, 4, 3))
    images, wanted = torch.randn(4, 3, 8, 8), torch.randn(4, 4, 4, 4)
    matrices, rest = split(network, first_and_last=("2.",))
    assert [tuple(matrix.shape) for matrix in matrices] == [(8, 3, 3, 3)]
    optimizers = Optimizers(matrices, [{"params": rest, "lr": 1e-2}])
    before, losses = network[0].weight.detach().clone(), []
    for _ in range(20):
        loss = (network(images) - wanted).square().mean()
        optimizers.step(loss, factor=1.0)
        losses.append(loss.item())
    assert not torch.equal(network[0].weight, before)
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("fast", [True, False])
def test_muon_steps_as_torch_does_and_in_float32_where_bf16_is_slow(monkeypatch: pytest.MonkeyPatch, fast: bool) -> None:
    monkeypatch.setattr(optimizers, "fast_bf16", lambda device: fast)
    generator = torch.Generator().manual_seed(0)
    shapes = [(12, 12), (24, 12), (12, 24)]
    ours = [torch.nn.Parameter(torch.randn(shape, generator=generator)) for shape in shapes]
    torchs = [torch.nn.Parameter(weight.detach().clone()) for weight in ours]
    before = [weight.detach().clone() for weight in ours]
    rest = torch.nn.Parameter(torch.zeros(3))
    both = Optimizers(ours, [{"params": [rest], "lr": 1e-3}])
    muon = torch.optim.Muon(torchs, lr=1e-2, weight_decay=0.01, momentum=0.95, nesterov=True, ns_steps=5)
    for _ in range(3):
        pulls = [torch.randn(shape, generator=generator) for shape in shapes]
        both.step(sum((weight * pull).sum() for weight, pull in zip(ours, pulls, strict=True)) + rest.sum(), factor=1.0)
        for weight, used in zip(torchs, ours, strict=True):
            weight.grad = used.grad
        muon.step()
    moved = [(weight - start) for weight, start in zip(ours, before, strict=True)]
    for weight, reference, way in zip(ours, torchs, moved, strict=True):
        assert (weight - reference).norm() < 0.1 * way.norm()  # bf16 rounds otherwise, by 3 %
    update = orthogonalised(pulls[0])
    assert torch.equal(update, update.bfloat16().float()) == fast


def test_the_card_says_what_single_images_show(weights: Path) -> None:
    detector = MiniatureDetector()
    images = measure_images(load_image_model("miniature-unet-image", device="cpu"), detector, 2)
    assert set(images["terse"]) == {"subject", "style", "background"}
    share = {"subject": 0.5, "style": 0.5, "motion": 0.5, "background": 0.5}
    wrong = dict.fromkeys(("misses", "false_alarms", "false_alarms_empty", "false_alarms_unrecognisable"), 0.0)
    measured = {
        "fidelity": {"terse": share}, "images": images, "clips": 2, "num_inference_steps": 25, "guidance_scale": 4.0,
        "seconds_per_clip": 1.0, "megabytes": 9.0, "image_model": "miniature-unet-image",
        "detector": {**share, **wrong},
    }  # fmt: skip
    card.write_card(measured, weights / bundled.UNET_NAME)
    page = (weights / bundled.UNET_NAME / "README.md").read_text()
    assert "AnimateDiffPipeline" in page
    assert "| single images, refined |" in page
    assert "--name miniature-unet" in page
