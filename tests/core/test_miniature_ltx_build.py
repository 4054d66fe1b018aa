"""The parts of the build of `miniature-ltx` that a GPU run relies on."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
import torch
from diffusers import LTXPipeline, LTXVideoTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn

from t2vu_core.errors import UserError
from t2vu_core.miniature.bundled import LTX_NAME, WEIGHTS
from t2vu_core.miniature.captions import CLASS_WORDS, SOMETHING, subject_words
from t2vu_core.miniature.worlds import FIRST, NOBODY, WORLD_64
from t2vu_core.miniature_build.ltx import caption_bank
from t2vu_core.miniature_build.ltx.architecture import (
    LATENT_CHANNELS,
    LIVE_CHANNELS,
    make_text_encoder,
    make_transformer,
    make_vae,
)
from t2vu_core.miniature_build.ltx.assemble import assemble
from t2vu_core.miniature_build.ltx.build import Builder, go_on_from_bundled
from t2vu_core.miniature_build.ltx.caption_bank import CaptionPlan, build_bank, load_bank, load_tokenizer
from t2vu_core.miniature_build.ltx.judge import sample
from t2vu_core.miniature_build.ltx.optimizer import MuonAdam, matrices_inside
from t2vu_core.miniature_build.ltx.plan import LtxPlan
from t2vu_core.miniature_build.ltx.timed_run import TimedRun
from t2vu_core.miniature_build.ltx.train_denoiser import _tokens_covered, draw_noise_levels
from t2vu_core.miniature_build.ltx.train_vae import silence_channels
from t2vu_core.miniature_build.optimizers import orthogonalised

CAT = [WORLD_64.subjects.index("cat"), NOBODY, 0, 0, 0]


def small_problem() -> tuple[nn.Module, MuonAdam, Tensor]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 8), nn.SiLU(), nn.Linear(8, 6))
    matrices, rest = matrices_inside(model, outside=())
    return model, MuonAdam(matrices, [(rest, 1e-2)], muon_rate=3e-2), torch.randn(32, 6)


def train(model: nn.Module, optimizer: MuonAdam, data: Tensor, steps: int) -> float:
    optimizer.factor.fill_(1.0)
    for _ in range(steps):
        loss = (model(data) - data.flip(1)).square().mean()
        optimizer.step(loss)
    return loss.item()


@pytest.mark.parametrize("shape", [(3, 8, 20), (2, 20, 8)])
def test_orthogonalised_matrices_have_singular_values_near_one(shape: tuple[int, ...]) -> None:
    values = torch.linalg.svdvals(orthogonalised(torch.randn(shape, generator=torch.Generator().manual_seed(1))))
    assert values.min() > 0.5
    assert values.max() < 1.4


def test_the_optimizer_learns() -> None:
    model, optimizer, data = small_problem()
    first = train(model, optimizer, data, 1)
    assert train(model, optimizer, data, 200) < 0.2 * first


def test_resumed_training_equals_uninterrupted_training(tmp_path: Path) -> None:
    model, optimizer, data = small_problem()
    run = TimedRun("test", lambda: torch.zeros(()), optimizer, seconds=1.0)
    train(model, optimizer, data, 5)
    run._save(tmp_path / "state")
    train(model, optimizer, data, 5)
    again, optimizer_again, _ = small_problem()
    TimedRun("test", lambda: torch.zeros(()), optimizer_again, seconds=1.0, state=tmp_path / "state")
    train(again, optimizer_again, data, 5)
    for one, other in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, other)
    train(again, optimizer_again, data, 1)
    assert not torch.equal(next(model.parameters()), next(again.parameters()))


def names_the_cat(plan: CaptionPlan, count: int = 200) -> float:
    words = subject_words(WORLD_64)["cat"]
    rng = random.Random(0)
    texts = [caption_bank._training_caption(CAT, rng, plan) for _ in range(count)]
    return sum(any(form in text for form in (words.usual, *words.seen, *words.held_out)) for text in texts) / count


def test_unreliable_captions_name_another_subject() -> None:
    assert names_the_cat(CaptionPlan(unreliable=0.0, vague=0.0)) == 1.0
    assert names_the_cat(CaptionPlan(unreliable=1.0, vague=0.0)) == 0.0
    assert 0.55 < names_the_cat(CaptionPlan(unreliable=0.3, vague=0.0)) < 0.85


def test_a_reading_says_what_the_caption_says() -> None:
    rng, kind = random.Random(0), caption_bank.KINDS.index("animal")
    vague = 1 + len(WORLD_64.subjects)
    seen = set()
    for _ in range(300):
        text, target = caption_bank._reading(CAT, rng)
        seen.add(target[FIRST])
        if target[FIRST] == vague + kind:
            assert any(
                form in text
                for form in (CLASS_WORDS["animal"].usual, *CLASS_WORDS["animal"].seen, *CLASS_WORDS["animal"].held_out)
            )
        elif target[FIRST] == vague + len(caption_bank.KINDS):
            assert any(form in text for form in (SOMETHING.usual, *SOMETHING.seen, *SOMETHING.held_out))
    assert seen == {CAT[FIRST] + 1, vague + kind, vague + len(caption_bank.KINDS)}


def test_the_bank_holds_every_clips_captions(tmp_path: Path) -> None:
    plan = CaptionPlan(unreliable=0.0, vague=0.0, bare=0.5, drop=0.0, empty=0.0, two_subjects=0.0)
    build_bank(tmp_path, num_clips=20, per_clip=3, num_readings=10, plan=plan, seed=4)
    bank, tokenizer = load_bank(tmp_path, torch.device("cpu")), load_tokenizer(tmp_path)
    assert bank["tokens"].shape[:2] == (20, 3)
    assert bank["read_targets"].shape == (10, 5)
    for row, tokens in zip(bank["labels"], bank["tokens"], strict=True):
        words = subject_words(WORLD_64)[WORLD_64.subjects[row[FIRST]]]
        for each in tokens:
            text = tokenizer.decode(each[each > 1])
            assert any(form in text for form in (words.usual, *words.seen, *words.held_out)), text
    assert len(tokenizer("zebra").input_ids) > 1


def test_the_first_latent_frame_covers_one_frame_and_the_others_two() -> None:
    coverage = torch.zeros(1, 1, 9, 64, 64)
    coverage[:, :, 0, :16, :16] = 1
    coverage[:, :, 2, 16:32, :16] = 1
    covered = _tokens_covered(coverage)
    assert covered.shape == (1, 5, 4, 4, 1)
    assert covered[0, 0, 0, 0, 0] == 1
    assert covered[0, 1, 1, 0, 0] == 0.5
    assert covered.sum() == 1.5


def test_noise_levels_reach_from_almost_none_to_noise_alone() -> None:
    levels = draw_noise_levels(600, torch.device("cpu"))
    assert levels.min() < 0.05
    assert levels.max() > 0.99
    assert levels.max() <= 1
    assert (levels > 0.85).float().mean() > 0.35


def test_files_of_a_run_become_a_model_that_generates(tmp_path: Path) -> None:
    torch.manual_seed(0)
    tokenizer = caption_bank.make_tokenizer(num_captions=200)
    tokenizer.save_pretrained(tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer.json").rename(tmp_path / "tokenizer.json")
    parts = {"transformer": make_transformer(), "vae": make_vae(), "text_encoder": make_text_encoder(len(tokenizer))}
    parts["vae"].latents_std.fill_(0.5)
    for name, module in parts.items():
        values = {key: value.detach().clone().half() for key, value in module.state_dict().items()}
        save_file(values, tmp_path / f"{name}.safetensors")
    assemble(tmp_path, tmp_path / "model")
    pipeline = LTXPipeline.from_pretrained(tmp_path / "model", dtype=torch.float32)
    assert torch.equal(pipeline.vae.latents_std, torch.full((128,), 0.5))
    assert pipeline.tokenizer("a cat").input_ids == tokenizer("a cat").input_ids
    clips = sample(pipeline, ["a cat", "a panda"], guidance_scale=3.0, steps=2)
    assert clips.shape == (2, 9, 3, 64, 64)
    assert clips.isfinite().all()


def test_a_further_build_starts_from_the_bundled_weights(tmp_path: Path) -> None:
    go_on_from_bundled(tmp_path / "work")
    builder = Builder(tmp_path / "work", LtxPlan.smoke(1))
    bundled = LTXVideoTransformer3DModel.from_pretrained(WEIGHTS / LTX_NAME / "transformer").float()
    for name, value in builder._start_of_denoiser().state_dict().items():
        assert torch.equal(value, bundled.state_dict()[name])
    assert set(builder.facts["seconds"]) == {"vae", "detector", "text_encoder"}
    with pytest.raises(UserError, match="choose a new folder"):
        go_on_from_bundled(tmp_path / "work")


def test_channels_that_carry_nothing_change_neither_the_picture_nor_the_prediction() -> None:
    torch.manual_seed(0)
    vae, transformer = make_vae(), make_transformer()
    silence_channels(vae)
    nn.init.normal_(transformer.proj_out.weight)
    latents = torch.randn(1, LATENT_CHANNELS, 5, 4, 4)
    other = torch.cat([latents[:, :LIVE_CHANNELS], torch.randn(1, LATENT_CHANNELS - LIVE_CHANNELS, 5, 4, 4)], 1)
    assert torch.equal(vae.decode(latents).sample, vae.decode(other).sample)
    assert not vae.encode(torch.rand(1, 3, 9, 64, 64)).latent_dist.mode()[:, LIVE_CHANNELS:].any()
    text, said, size = torch.randn(1, 7, 128), torch.ones(1, 7), {"num_frames": 5, "height": 4, "width": 4}
    now = torch.tensor([500.0])
    one, two = (transformer(each.flatten(2).mT, text, now, said, **size, return_dict=False)[0] for each in (latents, other))
    assert torch.equal(one, two)
