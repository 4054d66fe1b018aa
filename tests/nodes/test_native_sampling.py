"""Erasers on ComfyUI's own models: KSampler gives what diffusers gives with the same weights and the same eraser."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2vu_core.erasure import Base, Erasure
from t2vu_core.weight_sketch import Sketch
from tests.core.tiny_models import TINY_MODELS
from tests.nodes.scripts import found_by
from tests.nodes.twins import TWINS, Twin, wan

KINDS = ("bottleneck", "lora")
STYLE = "blocks.0.ffn.0"
ANY = {
    "wan": "wan-2.1", "ltx": "ltx-video", "hunyuan_video": "hunyuan-video", "hunyuan_video_15": "hunyuan-video-1.5",
    "mochi": "mochi", "cogvideox": "cogvideox-5b",
}  # fmt: skip
"""The tiny diffusers model that is as large as ComfyUI's tiny model of the family."""


FORMATS = {"float16": (5e-5, 4e-4), "float8_e4m3fn": (0.015, 0.04), "scaled": (0.01, 0.035), "Q8_0": (0.001, 0.005)}
"""With the limits of each one's rounding error. Scaled fp8 and Q8_0 are of Wan's matrices only."""


@dataclass(frozen=True)
class Sampled:
    """What one process in ComfyUI's folder found."""

    folder: Path
    twins: Mapping[str, Twin]
    latents: Mapping[str, Tensor]
    said: Mapping[str, Any]

    def eraser(self, family: str, kind: str) -> dict[str, Tensor]:
        return load_file(self.folder / f"{family}_{kind}.safetensors")

    def sigmas(self, family: str) -> Tensor:
        return self.latents[f"{family}.sigmas"]


def difference(found: Tensor, expected: Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


def sketched_bases(name: str, twin: Twin) -> dict[str, Base]:
    """The twin's own base, one of which it is a fine-tune by 30 %, and another model's."""
    generator = torch.Generator().manual_seed(0)

    def base(which: str, digest: str, share: float) -> Base:
        changed = [
            (key, value + share * value.pow(2).mean().sqrt() * torch.randn(value.shape, generator=generator))
            for key, value in twin.family.named_base_tensors()
        ]
        return Base(f"{which} {name}", name, digest, Sketch.of(digest, changed))

    return {"sketched": twin_base(twin), "tuned": base("tuned", "1" * 64, 0.3), "another": base("another", "2" * 64, 3.0)}


def small_change(twin: Twin) -> Erasure:
    """A LoRA that changes every weight by 0.5 % of its size."""
    tensors = twin.eraser("lora")
    for site in twin.family.lora_sites():
        down, up = (f"{site.name}.lora_{letter}.weight" for letter in "AB")
        weight = site.module.get_parameter("weight").detach()
        tensors[up] *= 0.005 * weight.norm() / (tensors[up] @ tensors[down]).norm()
    return Erasure("eraser", ("ghost",), twin_base(twin), tensors, "random")


def twin_base(twin: Twin) -> Base:
    return Base(f"tiny {twin.family.name}", twin.family.name, twin.family.base_hash, twin.family.base_sketch)


def write_inputs(folder: Path, twins: Mapping[str, Twin]) -> None:
    given = {}
    for name, twin in twins.items():
        twin.write(folder / f"{name}.safetensors")
        given |= {f"{name}.{key}": value for key, value in twin.given.items()}
        for kind in KINDS:
            save_file(twin.eraser(kind), folder / f"{name}_{kind}.safetensors")
        for which, digest in (("own", twin.family.base_hash), ("other", "0" * 64)):
            base = Base(f"tiny {name}", name, digest)
            Erasure("eraser", ("ghost",), base, twin.eraser("lora"), "random").save(folder / f"{name}_{which}_base")
        for which, base in sketched_bases(name, twin).items():
            Erasure("eraser", ("ghost",), base, twin.eraser("lora"), "random").save(folder / f"{name}_{which}_base")
    save_file(given, folder / "given.safetensors")
    small_change(twins["wan"]).save(folder / "wan_small")
    for family, name in ANY.items():
        for kind in KINDS:
            TINY_MODELS[name].random_erasure(kind).save(folder / f"any_{family}_{kind}")
        weights = TINY_MODELS[name].model.family.named_base_tensors()
        save_file({key: value.contiguous() for key, value in weights}, folder / f"any_{family}_weights.safetensors")
    down, up = torch.randn(4, 128) * 0.3, torch.randn(256, 4) * 0.3
    save_file(
        {f"diffusion_model.{STYLE}.lora_A.weight": down, f"diffusion_model.{STYLE}.lora_B.weight": up},
        folder / "style.safetensors",
    )


@pytest.fixture(scope="module")
def sampled(tmp_path_factory: pytest.TempPathFactory) -> Sampled:
    folder = tmp_path_factory.mktemp("native")
    twins = {name: make() for name, make in TWINS.items()}
    write_inputs(folder, twins)
    tensors, said = found_by("native_in_process.py", folder)
    return Sampled(folder, twins, tensors, said)


@pytest.mark.parametrize("family", TWINS)
@pytest.mark.parametrize("kind", KINDS)
def test_ksampler_gives_what_diffusers_gives_with_the_same_eraser(sampled: Sampled, family: str, kind: str) -> None:
    twin, found = sampled.twins[family], sampled.latents
    plain = twin.sample(sampled.sigmas(family))
    erased = twin.sample(sampled.sigmas(family), lambda step: twin.attached(sampled.eraser(family, kind)))
    assert difference(found[f"{family}.plain"], plain) < 1e-5
    assert difference(erased, plain) > 0.01
    assert difference(found[f"{family}.{kind}"], erased) < 1e-5


@pytest.mark.parametrize("family", TWINS)
def test_the_model_without_the_eraser_is_bit_for_bit_what_it_was(sampled: Sampled, family: str) -> None:
    said = sampled.said
    assert said[f"{family} again"]
    assert said[f"{family} weights"]
    assert said[f"{family} hooks"] == 0
    assert all(said[f"{family}.{kind} off"] for kind in KINDS), "strength 0"


@pytest.mark.parametrize("family", TWINS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_weights_that_an_eraser_was_trained_on_are_recognised(sampled: Sampled, family: str, dtype: str) -> None:
    assert sampled.said[f"{family} {dtype} own"] == f"the same weights as tiny {family}"
    assert "this MODEL has other weights" in sampled.said[f"{family} {dtype} other"]


@pytest.mark.parametrize("family", TWINS)
def test_a_file_of_an_older_version_must_be_confirmed_in_fp8(sampled: Sampled, family: str) -> None:
    for eraser in ("own", "other"):
        assert "Switch on same_base" in sampled.said[f"{family} float8_e4m3fn {eraser}"]
        assert "cannot be compared" in sampled.said[f"{family} float8_e4m3fn {eraser}"]


@pytest.mark.parametrize("family", TWINS)
def test_the_same_model_is_recognised_in_every_format(sampled: Sampled, family: str) -> None:
    said = sampled.said
    for dtype in ("float32", "bfloat16"):
        assert said[f"{family} {dtype} sketched"] == f"the same weights as tiny {family}"
    for dtype, (least, most) in FORMATS.items():
        found = said.get(f"{family} {dtype} sketched")
        if found is None:
            assert family != "wan"
            continue
        assert found.startswith("the same but for rounding ("), found
        assert found.endswith(f"compared with tiny {family}")
        assert least < float(found.split("off by ")[1].split(" %")[0]) / 100 < most
        assert ("a fine-tune that changes less than that" in found) == (least >= 0.01)


@pytest.mark.parametrize("family", TWINS)
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float8_e4m3fn"])
def test_a_fine_tune_is_confirmed_and_another_model_refused(sampled: Sampled, family: str, dtype: str) -> None:
    said = sampled.said
    assert "is a fine-tune of it, or was rounded" in said[f"{family} {dtype} tuned"]
    assert "Switch on same_base" in said[f"{family} {dtype} tuned"]
    assert said[f"{family} {dtype} tuned confirmed"].startswith("same_base is on: a fine-tune, off by ")
    for confirmed in ("", " confirmed"):
        assert "this MODEL is another model" in said[f"{family} {dtype} another{confirmed}"]


def test_an_eraser_can_be_on_for_a_part_of_the_sampling(sampled: Sampled) -> None:
    twin, bottleneck = sampled.twins["wan"], sampled.eraser("wan", "bottleneck")
    late = twin.sample(sampled.sigmas("wan"), lambda step: twin.attached(bottleneck, 1.0 if step >= 2 else 0.0))
    assert difference(sampled.latents["wan.late"], late) < 1e-5
    assert difference(late, sampled.latents["wan.bottleneck"]) > 0.01
    assert sampled.said["halves"], "one half and the other are the whole, bit for bit"


def test_it_works_with_a_second_eraser_a_shift_and_loras(sampled: Sampled) -> None:
    twin, found, bottleneck = sampled.twins["wan"], sampled.latents, sampled.eraser("wan", "bottleneck")
    with twin.attached(bottleneck):
        stacked = twin.sample(sampled.sigmas("wan"), lambda step: twin.attached(sampled.eraser("wan", "lora"), 0.5))
    assert difference(found["wan.stacked"], stacked) < 1e-5
    shifted = twin.sample(found["wan.shifted_sigmas"], lambda step: twin.attached(bottleneck))
    assert difference(found["wan.shifted"], shifted) < 1e-5
    assert difference(found["wan.shifted"], found["wan.bottleneck"]) > 0.01
    assert sampled.said["shift in either order"]
    assert sampled.said["lora in either order"]
    assert sampled.said["plain after others"]
    styled, style = wan(), load_file(sampled.folder / "style.safetensors")
    layer = styled.family.denoisers["transformer"].blocks[0].ffn.net[0].proj
    layer.weight.data += style[f"diffusion_model.{STYLE}.lora_B.weight"] @ style[f"diffusion_model.{STYLE}.lora_A.weight"]
    expected = styled.sample(sampled.sigmas("wan"), lambda step: styled.attached(bottleneck))
    assert difference(expected, found["wan.bottleneck"]) > 0.001
    assert difference(found["wan.style"], expected) < 1e-5
    assert difference(found["wan.hooked"], expected) < 1e-5, "a LoRA as a hook of the conditioning"


def test_an_eraser_of_an_fp8_file_is_known_to_fit_the_model_in_full_precision(sampled: Sampled) -> None:
    for name, precision in (("fp8", "(fp8"), ("scaled", "fp8"), ("Q8_0", "(GGUF Q8_0")):
        said = sampled.said[f"trained in {name}"]
        assert said.startswith("the same but for rounding (")
        assert f"{precision}, off by " in said


def test_what_load_lora_rounds_away_in_fp8_is_measured(sampled: Sampled) -> None:
    """The measured error is that of ComfyUI's own merging into the same weights."""
    for name in ("fp8", "scaled"):
        merged, error, change = (sampled.said[f"{name} {what}"] for what in ("merged", "error", "change"))
        assert error == pytest.approx(merged, rel=0.1)
        assert error > 1
        assert change == pytest.approx(0.005, rel=0.2)
    assert "simulated" in sampled.said["float32 merging"]
    assert "this model's fp8 weights" in sampled.said["fp8 merging"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("what", ["a mask", "an area", "a part of the time", "a start image"])
def test_every_pass_of_a_conditioning_with_parts_is_erased(sampled: Sampled, what: str, kind: str) -> None:
    off, moved = sampled.said[f"{what}, {kind}"]
    assert off < 1e-6
    assert moved > 0.01
    assert sampled.said["image shows"] > 0.01


@pytest.mark.parametrize("what", ["one pass a row", "another wrapper"])
def test_nodes_of_other_packs_that_change_the_passes_are_erased_too(sampled: Sampled, what: str) -> None:
    off, moved = sampled.said[what]
    assert off < 1e-6
    assert moved > 0.01
    assert sampled.said[f"{what}, after the eraser"]


def test_a_cache_of_steps_does_not_switch_the_eraser_off(sampled: Sampled) -> None:
    found = sampled.latents
    assert difference(found["wan.cache_unused"], found["wan.bottleneck"]) < 1e-6
    assert difference(found["wan.cached_plain"], found["wan.plain"]) > 0.01, "steps were skipped"
    assert difference(found["wan.cached"], found["wan.cached_plain"]) > 0.01
    assert sampled.said["cached plain again"]


def test_a_compiled_model_is_erased_and_stays_plain_without_the_eraser(sampled: Sampled) -> None:
    found = sampled.latents
    assert sampled.said["frames compiled"] > 0
    assert difference(found["wan.compiled_then_erased"], found["wan.bottleneck"]) < 1e-5
    assert difference(found["wan.erased_then_compiled"], found["wan.bottleneck"]) < 1e-5
    assert difference(found["wan.compiled"], found["wan.plain"]) < 1e-5
    assert torch.equal(found["wan.compiled_again"], found["wan.compiled"])


def test_a_copy_of_the_model_on_another_device_is_erased(sampled: Sampled) -> None:
    assert sampled.said["a copy"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16])
def test_low_precision_takes_nothing_from_the_eraser(sampled: Sampled, dtype: torch.dtype, kind: str) -> None:
    """The effect is that of the same eraser on the same rounded weights in float32."""
    name = f"wan.{str(dtype).removeprefix('torch.')}"
    rounded = wan(lambda weight: weight.to(dtype).float())
    plain = rounded.sample(sampled.sigmas("wan"))
    wanted = rounded.sample(sampled.sigmas("wan"), lambda step: rounded.attached(sampled.eraser("wan", kind))) - plain
    moved = sampled.latents[f"{name}.{kind}"] - sampled.latents[name]
    assert difference(moved, wanted) < 1e-4
    assert sampled.said[f"{name.removeprefix('wan.')} again"]


@pytest.mark.parametrize("family", ["mochi", "hunyuan_video_15"])
def test_a_model_with_the_weights_of_a_folder_is_known_again(sampled: Sampled, family: str) -> None:
    """Also the text's projections are compared, in diffusers' order."""
    said = sampled.said
    assert said[f"{family} own"] == "the same weights as trained here"
    assert "this MODEL is another model" in said[f"{family} other"]
    assert said[f"{family} folder"].startswith("the same weights as ")
    assert said[f"{family} folder's hash"] == TINY_MODELS[ANY[family]].model.family.base_hash


@pytest.mark.parametrize("family", ANY)
def test_every_architecture_has_the_places_that_diffusers_has(sampled: Sampled, family: str) -> None:
    """What a LoRA changes is compared with the layer names of Export LoRA, which other tests compare with diffusers."""
    sites = sampled.said[f"{family} sites"]
    if sites is None:
        pytest.skip(f"this ComfyUI has no native {family}")
    own = TINY_MODELS[ANY[family]].model.family
    assert sites == [len(own.eraser_sites()), len(own.lora_sites())]
    assert max(sampled.said[f"{family} off"]) < 1e-4
