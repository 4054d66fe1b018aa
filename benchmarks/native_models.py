"""Models in the shape of released ones in ComfyUI's own classes, with random weights, on a GPU of any smaller size.

As in step_shapes.py the denoiser is the real class at its real size, loaded by ComfyUI's own loader; of text encoder and VAE
only the widths that the denoiser sees are real. ComfyUI's server is not needed.
"""

from __future__ import annotations

import importlib
import shutil
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import torch
import transformers as t
from torch import Tensor

from benchmarks.step_shapes import SHAPES, TEXT_WIDTH, TINY_SIZE
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.model import T2VModel
from t2vu_core.weight_sketch import Sketch
from tools.comfyui.server import REPOSITORY, comfyui_folder

PACK = "t2vu_pack"
NAMES = ("wan-1.3b", "wan-14b")
PRECISIONS = ("bf16", "fp8", "fp8_scaled")
TEXT_TOKENS = 512
TINY_SETTINGS = {"num_attention_heads": 1, "num_layers": 1, "ffn_dim": 32}
SPREAD = 0.02
"""Standard deviation of the random weights."""
CONTEXT = 2**29
"""Bytes of a card that CUDA itself takes."""
GIB = 2**30


def start_comfyui() -> None:
    """Make ComfyUI and this pack's part for its models importable, without their nodes; on the CPU if there is no GPU."""
    sys.path.insert(0, str(comfyui_folder()))
    sys.argv = [sys.argv[0], *([] if torch.cuda.is_available() else ["--cpu"])]
    importlib.import_module("comfy.options").enable_args_parsing()
    server = sys.modules["server"] = ModuleType("server")
    server.PromptServer = SimpleNamespace(instance=None)  # type: ignore[attr-defined]
    for name, folder in ((PACK, REPOSITORY), (f"{PACK}.nodes", REPOSITORY / "nodes")):
        package = sys.modules[name] = ModuleType(name)
        package.__path__ = [str(folder)]
    importlib.import_module(f"{PACK}.nodes.native")


def limit_card(gib: float) -> None:
    """Let ComfyUI count with a GPU of that size, and PyTorch allocate no more than it has.

    What ComfyUI keeps of the weights on the GPU then is what it would keep on such a card; the card's speed is this one's.
    """
    management: Any = importlib.import_module("comfy.model_management")
    usable = int(gib * GIB) - CONTEXT
    torch.cuda.set_per_process_memory_fraction(usable / torch.cuda.get_device_properties(0).total_memory)
    own_free, own_total = management.get_free_memory, management.get_total_memory

    def is_cpu(dev: Any) -> bool:
        return torch.device(management.get_torch_device() if dev is None else dev).type == "cpu"

    def free(dev: Any = None, torch_free_too: bool = False) -> Any:
        if is_cpu(dev):
            return own_free(dev, torch_free_too)
        active, reserved = torch.cuda.memory_allocated(), torch.cuda.memory_reserved()
        return (usable - active, reserved - active) if torch_free_too else usable - active

    def total(dev: Any = None, torch_total_too: bool = False) -> Any:
        if is_cpu(dev):
            return own_total(dev, torch_total_too)
        return (usable, torch.cuda.memory_reserved()) if torch_total_too else usable

    management.get_free_memory, management.get_total_memory = free, total


def native_model(name: str, precision: str, *, tiny: bool = False) -> T2VModel:
    """ComfyUI's own MODEL with a small CLIP. Its VAE is not there: a step does not use it."""
    native: Any = importlib.import_module(f"{PACK}.nodes.native")
    size = TINY_SIZE if tiny else SHAPES[name].size
    vae = SimpleNamespace(spacial_compression_decode=lambda: 8, temporal_compression_decode=lambda: 4)
    model: T2VModel = native.model_from_comfyui(
        [_patcher(name, precision, tiny)], _clip(), vae, native.Sampled(steps=50, cfg=5.0),
        pixels=(size.num_frames, size.height, size.width),
    )  # fmt: skip
    # Random weights are no base: nothing is hashed.
    vars(model.family).update(base_hash="random weights", base_sketch=Sketch.of("random weights", ()))
    return model


def denoiser_bytes(model: T2VModel) -> dict[str, int]:
    """The bytes of the denoiser's weights, and of those that ComfyUI keeps on the GPU between passes."""
    tensors = [tensor for network in model.family.denoisers.values() for tensor in network.state_dict().values()]
    on_gpu = (tensor.nbytes for tensor in tensors if tensor.device.type == "cuda")
    return {"denoiser_bytes": sum(tensor.nbytes for tensor in tensors), "on_gpu_bytes": sum(on_gpu)}


def _patcher(name: str, precision: str, tiny: bool) -> Any:
    """ComfyUI's MODEL, made by its loader from weights as a file of that precision holds them."""
    loader: Any = importlib.import_module("comfy.sd")
    settings = TINY_SETTINGS if tiny else SHAPES[name].settings
    weights = stored(random_weights(settings, torch.device("cuda" if torch.cuda.is_available() else "cpu")), precision)
    # As Load Diffusion Model does: a scaled file says itself what it is.
    options = {} if precision == "fp8_scaled" else {"dtype": weights["head.head.weight"].dtype}
    return loader.load_diffusion_model_state_dict(weights, model_options=options)


def random_weights(settings: Mapping[str, Any], device: torch.device) -> Iterator[tuple[str, Tensor]]:
    """The weights of ComfyUI's Wan 2.1 in bf16 by its own names, one after the other."""
    wan: Any = importlib.import_module("comfy.ldm.wan.model")
    layers: Any = importlib.import_module("comfy.ops").disable_weight_init
    heads = settings["num_attention_heads"]
    network = wan.WanModel(
        dim=128 * heads, num_heads=heads, ffn_dim=settings["ffn_dim"], num_layers=settings["num_layers"],
        device=torch.device("meta"), dtype=torch.bfloat16, operations=layers,
    )  # fmt: skip
    generator = torch.Generator(device).manual_seed(0)
    for name, like in network.state_dict().items():
        weight = torch.empty(like.shape, dtype=torch.bfloat16, device=device).normal_(0, SPREAD, generator=generator)
        is_norm = like.dim() == 1 and name.endswith(".weight")
        yield name, weight + 1 if is_norm else weight


def stored(weights: Iterable[tuple[str, Tensor]], precision: str) -> dict[str, Tensor]:
    """The weights as a file of that precision holds them."""
    miniature: Any = importlib.import_module(f"{PACK}.nodes.native.miniature.precision")
    tensors: dict[str, Tensor] = {}
    for name, tensor in weights:
        tensors.update(miniature.stored({name: tensor}, precision))
    return tensors


def _clip() -> Any:
    """ComfyUI's CLIP around a text encoder of one layer whose embeddings have the real width and number."""
    text: Any = importlib.import_module(f"{PACK}.nodes.native.miniature.text")
    bundled = bundled_folder("miniature")
    assert bundled is not None
    tokenizer = t.AutoTokenizer.from_pretrained(bundled / "tokenizer")
    config = t.T5Config(
        vocab_size=len(tokenizer),
        d_model=TEXT_WIDTH,
        d_kv=64,
        d_ff=64,
        num_layers=1,
        num_heads=2,
        feed_forward_proj="gated-gelu",
    )
    torch.manual_seed(0)
    with tempfile.TemporaryDirectory() as folder:
        t.T5EncoderModel(config).save_pretrained(Path(folder) / "text_encoder")
        shutil.copytree(bundled / "tokenizer", Path(folder) / "tokenizer")
        return text.t5_clip(Path(folder), torch.bfloat16, length=TEXT_TOKENS, masks=False)
