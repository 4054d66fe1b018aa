"""Model folders from strangers: no code of theirs runs, nothing is unpickled or read elsewhere, and nothing asks."""

from __future__ import annotations

import builtins
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from t2vu_core.errors import UserError, first_line, reading
from t2vu_core.evaluation.detectors import open_detector
from t2vu_core.model import T2VModel, load_model
from t2vu_core.prompts import language_model
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from tests.core.test_evaluation import tiny_clip
from tests.core.test_language_model import language_model as tiny_language_model
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
DENOISER = "transformer/diffusion_pytorch_model.safetensors"
ENCODER = "text_encoder/model.safetensors"
RUNS = "raise SystemExit('the code of the folder ran')"

GHOST = understand(ConceptRequest("ghost"), prompt_set_for(None))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    copied = tmp_path / "model"
    shutil.copytree(TINY.folder, copied)
    return copied


@pytest.fixture(autouse=True)
def nothing_asks_and_nothing_is_unpickled(monkeypatch: pytest.MonkeyPatch) -> None:
    """A question on the terminal would wait for ever where no person answers."""

    def asked(*arguments: object) -> str:
        raise AssertionError(f"a library asked {arguments}")

    def unpickled(*arguments: object, **options: object) -> None:
        raise AssertionError("a pickle was opened")

    monkeypatch.setattr(builtins, "input", asked)
    monkeypatch.setattr(torch, "load", unpickled)


def change(file: Path, **values: Any) -> None:
    content = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    file.write_text(json.dumps({**content, **values}), encoding="utf-8")


def refusal(folder: Path) -> str:
    """What is said about the folder: one sentence that names it."""
    with pytest.raises(UserError) as refused:
        load_model(folder)
    said = str(refused.value)
    assert said.startswith(f"The model folder {folder} cannot be loaded: ")
    assert "\n" not in said
    assert not any(word in said for word in ("trust_remote_code", "weights_only", "use_safetensors"))
    return said


def clip(model: T2VModel) -> torch.Tensor:
    return model.sample("a ghost", seeds=1, num_inference_steps=2)


def rename(file: Path, name: str) -> None:
    file.rename(file.with_name(name))


def sharded(file: Path, names: tuple[str, str]) -> Path:
    """Cut a file of weights in two; returns their index."""
    tensors = load_file(file)
    listed = {key: names[index % 2] for index, key in enumerate(sorted(tensors))}
    for name in names:
        save_file({key: tensors[key] for key, place in listed.items() if place == name}, file.parent / name, {"format": "pt"})
    file.unlink()
    index = file.with_name(f"{file.name}.index.json")
    index.write_text(json.dumps({"metadata": {"total_size": 1}, "weight_map": listed}), encoding="utf-8")
    return index


SHARDS = tuple(f"diffusion_pytorch_model-0000{number}-of-00002.safetensors" for number in (1, 2))


@pytest.mark.parametrize("name", [DENOISER, ENCODER])
def test_weights_that_are_only_pickled_are_refused_with_the_way_to_convert_them(folder: Path, name: str) -> None:
    file = folder / name
    pickled = "pytorch_model.bin" if name == ENCODER else "diffusion_pytorch_model.bin"
    torch.save(load_file(file), file.with_name(pickled))
    file.unlink()
    said = refusal(folder)
    assert f"only in {Path(name).parent / pickled}, a pickle" in said
    assert "save_pretrained" in said


def test_a_pickle_next_to_safe_weights_is_left_alone(folder: Path) -> None:
    (folder / "transformer" / "diffusion_pytorch_model.bin").write_bytes(b"never read")
    assert torch.equal(clip(load_model(folder)), clip(TINY.model))


@pytest.mark.parametrize(
    ("file", "named"),
    [
        ("model_index.json", {"AutoModel": "evil.Model"}),
        ("transformer/config.json", {"AutoModel": "evil.Model"}),
        ("text_encoder/config.json", {"AutoModel": "evil.Model"}),
        ("tokenizer/tokenizer_config.json", ["evil.Tokenizer", None]),
        ("scheduler/scheduler_config.json", {"AutoModel": "someone/else--evil.Model"}),
    ],
)
def test_code_that_a_configuration_names_is_never_run(folder: Path, file: str, named: object) -> None:
    (folder / file).with_name("evil.py").write_text(RUNS, encoding="utf-8")
    change(folder / file, auto_map=named)
    assert f"its own code ({file} names it under auto_map)" in refusal(folder)


def test_a_tokenizer_that_asks_whether_to_run_its_code_is_refused(folder: Path) -> None:
    (folder / "tokenizer" / "evil.py").write_text(RUNS, encoding="utf-8")
    change(folder / "model_index.json", tokenizer=["transformers", "AutoTokenizer"])
    auto_map = {"AutoTokenizer": ["evil.Tokenizer", None]}
    change(folder / "tokenizer" / "tokenizer_config.json", auto_map=auto_map, tokenizer_class="Unknown")
    assert "tokenizer/tokenizer_config.json names it under auto_map" in refusal(folder)


@pytest.mark.parametrize("library", ["evil", "antigravity", "os", "..evil", "http.server"])
def test_no_other_library_is_imported(folder: Path, library: str) -> None:
    change(folder / "model_index.json", transformer=[library, "CogVideoXTransformer3DModel"])
    assert f"comes from the library {library!r}, which is never imported" in refusal(folder)


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"attn_implementation": "evil/kernel"}, "attn_implementation"),
        ({"_attn_implementation": "paged|evil/kernel@main"}, "_attn_implementation"),
        ({"attn_implementation": {"text_config": "evil/kernel"}}, "attn_implementation"),
        ({"text_config": {"_attn_implementation_internal": "evil/kernel"}}, "_attn_implementation_internal"),
        ({"experts_implementation": "evil/kernel"}, "experts_implementation"),
    ],
)
def test_a_kernel_from_a_hub_is_never_fetched(folder: Path, values: dict[str, Any], key: str) -> None:
    change(folder / "text_encoder" / "config.json", **values)
    assert f"text_encoder/config.json asks for code from a hub ({key})" in refusal(folder)


def test_an_attention_of_the_library_itself_is_taken(folder: Path) -> None:
    change(folder / "text_encoder" / "config.json", _attn_implementation="eager")
    torch.testing.assert_close(clip(load_model(folder)), clip(TINY.model))


def test_quantization_whose_kernels_come_from_a_hub_is_refused(folder: Path) -> None:
    change(folder / "text_encoder" / "config.json", quantization_config={"quant_method": "mxfp4"})
    assert "weights quantized by 'mxfp4'" in refusal(folder)


@pytest.mark.parametrize("outside", ["../../outside.safetensors", "/{}/outside.safetensors", "..", "a\\b.safetensors", "C:x"])
@pytest.mark.parametrize("name", [DENOISER, ENCODER])
def test_an_index_of_weights_never_leads_outside(folder: Path, name: str, outside: str) -> None:
    file = folder / name
    shutil.copy(file, folder.parent / "outside.safetensors")
    named = dict.fromkeys(load_file(file), outside.format(folder.parent))
    file.unlink()
    index = file.with_name(f"{file.name}.index.json")
    index.write_text(json.dumps({"metadata": {}, "weight_map": named}), encoding="utf-8")
    assert f"{index.relative_to(folder)} names a file outside its folder" in refusal(folder)


def test_weights_in_several_files_are_loaded_and_a_missing_one_is_named(folder: Path) -> None:
    sharded(folder / DENOISER, SHARDS)
    assert torch.equal(clip(load_model(folder)), clip(TINY.model))
    (folder / "transformer" / SHARDS[1]).unlink()
    assert f"transformer/{SHARDS[1]} is missing" in refusal(folder)


@pytest.mark.parametrize("content", ["[", "[]", '{"weight_map": 3}', '{"weight_map": {"x": 3}}', "{}", "[" * 100_000])
def test_a_damaged_index_is_named(folder: Path, content: str) -> None:
    sharded(folder / DENOISER, SHARDS).write_text(content, encoding="utf-8")
    assert "transformer/diffusion_pytorch_model.safetensors.index.json does not list" in refusal(folder)


def test_the_links_of_a_download_cache_are_followed(folder: Path, tmp_path: Path) -> None:
    """Hugging Face's cache: snapshots of links to ../../blobs, here with weights in several files."""
    sharded(folder / DENOISER, SHARDS)
    cache = tmp_path / "models--me--tiny"
    snapshot = cache / "snapshots" / "0123"
    (cache / "blobs").mkdir(parents=True)
    for number, file in enumerate(file for file in folder.rglob("*") if file.is_file()):
        blob = shutil.copy(file, cache / "blobs" / str(number))
        link = snapshot / file.relative_to(folder)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    assert torch.equal(clip(load_model(snapshot)), clip(TINY.model))


@pytest.mark.parametrize("key", ["vocab_file", "merges_file", "tokenizer_file"])
def test_a_tokenizer_never_reads_a_file_that_its_configuration_names_elsewhere(folder: Path, key: str) -> None:
    secret = folder.parent / "secret.json"
    secret.write_text("{}", encoding="utf-8")
    change(folder / "tokenizer" / "tokenizer_config.json", **{key: str(secret)})
    assert f"tokenizer/tokenizer_config.json names a file outside its folder ({key})" in refusal(folder)


def test_a_tokenizer_whose_configuration_names_files_of_another_machine_is_loaded(folder: Path) -> None:
    config = folder / "tokenizer" / "tokenizer_config.json"
    change(config, special_tokens_map_file="/home/other/special_tokens_map.json")
    assert torch.equal(clip(load_model(folder)), clip(TINY.model))


def test_an_adapter_in_place_of_a_component_does_not_open_another_model(folder: Path) -> None:
    change(folder / "text_encoder" / "adapter_config.json", base_model_name_or_path=str(TINY.folder / "text_encoder"))
    assert "a LoRA of another model" in refusal(folder)


def test_a_folder_with_its_own_way_to_generate_never_runs_it(tmp_path: Path) -> None:
    folder = tiny_language_model(tmp_path)
    (folder / "custom_generate").mkdir()
    (folder / "custom_generate" / "generate.py").write_text(RUNS, encoding="utf-8")
    assert "its own code (custom_generate)" in language_model_refusal(folder)


def language_model_refusal(folder: Path) -> str:
    with pytest.raises(UserError) as refused:
        language_model.write_prompts(folder, GHOST, count=1, seed=0, device=torch.device("cpu"))
    assert "trust_remote_code" not in str(refused.value)
    return str(refused.value)


def test_a_language_model_of_unknown_classes_is_refused_and_one_of_known_classes_ignores_its_code(tmp_path: Path) -> None:
    folder = tiny_language_model(tmp_path)
    for name in ("evil", "tokenization_evil"):
        (folder / f"{name}.py").write_text(RUNS, encoding="utf-8")
    change(folder / "config.json", auto_map={"AutoConfig": "evil.Config", "AutoModelForCausalLM": "evil.Model"})
    change(folder / "tokenizer_config.json", auto_map={"AutoTokenizer": ["tokenization_evil.Tokenizer", None]})
    written = language_model.write_prompts(folder, GHOST, count=1, seed=0, device=torch.device("cpu"))
    assert written["ghost"]
    change(folder / "config.json", model_type="evil")
    assert "config.json names it under auto_map" in language_model_refusal(folder)


def test_a_clip_model_runs_nothing_and_opens_no_pickle(tmp_path: Path) -> None:
    folder = tiny_clip(tmp_path)
    change(folder / "config.json", attn_implementation="evil/kernel")
    with pytest.raises(UserError, match="asks for code from a hub"):
        open_detector(f"clip:{folder}")
    shutil.rmtree(folder)
    tiny_clip(folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(UserError, match="a pickle"):
        open_detector(f"clip:{folder}")


def as_variant(file: Path, variant: str, dtype: torch.dtype) -> None:
    """The file's weights as a variant only."""
    tensors = {key: tensor.to(dtype) if tensor.is_floating_point() else tensor for key, tensor in load_file(file).items()}
    save_file(tensors, file.with_name(f"{file.stem}.{variant}.safetensors"), {"format": "pt"})
    file.unlink()


@pytest.mark.parametrize("components", [["transformer", "vae", "text_encoder"], ["transformer"]])
def test_a_folder_with_half_precision_files_only_is_loaded(folder: Path, components: list[str]) -> None:
    for name in components:
        (file,) = (folder / name).glob("*.safetensors")
        as_variant(file, "fp16", torch.float16)
    model = load_model(folder)
    assert model.family.pipeline.transformer.dtype == torch.float32
    torch.testing.assert_close(clip(model), clip(TINY.model), atol=0.05, rtol=0)


def test_a_variant_in_several_files_is_loaded(folder: Path) -> None:
    as_variant(folder / DENOISER, "bf16", torch.bfloat16)
    names = tuple(f"diffusion_pytorch_model.bf16-0000{number}-of-00002.safetensors" for number in (1, 2))
    index = sharded(folder / "transformer" / "diffusion_pytorch_model.bf16.safetensors", names)
    rename(index, "diffusion_pytorch_model.safetensors.index.bf16.json")
    assert clip(load_model(folder)).isfinite().all()


def test_components_of_different_variants_are_named(folder: Path) -> None:
    as_variant(folder / DENOISER, "fp16", torch.float16)
    as_variant(folder / ENCODER, "bf16", torch.bfloat16)
    said = refusal(folder)
    assert "transformer as fp16" in said
    assert "text_encoder as bf16" in said


def test_a_configuration_that_cannot_be_read_is_named(folder: Path) -> None:
    for content in ("{", "[]", "[" * 100_000, '{"a": ' + "9" * 6000 + "}", "\ud800".encode("utf-8", "surrogatepass")):
        file = folder / "vae" / "config.json"
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        assert "vae/config.json cannot be read" in refusal(folder)


ADVICE = [
    "It needs code. Please pass the argument `trust_remote_code=True` to allow custom code to be run.",
    "Weights only load failed; set `weights_only=False` if you trust the file.",
    "Re-run with use_safetensors=False. It needs code.",
    "allow it by torch.serialization.add_safe_globals([evil])",
]


@pytest.mark.parametrize("advice", ADVICE)
def test_advice_to_switch_a_protection_off_never_reaches_the_user(advice: str, t2vu: Callable) -> None:
    shown = first_line(ValueError(advice))
    assert shown in ("It needs code.", "Weights only load failed;", "ValueError")
    with pytest.raises(UserError) as refused, reading("x"):
        raise ValueError(advice)
    assert refused.value.__cause__ is None
    assert refused.value.__suppress_context__
