"""What is checked in a model folder before a library opens it: no code of it runs, nothing is unpickled or read elsewhere.

Some versions of diffusers and transformers run or read what a folder names, and ask on the terminal before they do.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import transformers

LOCAL: dict[str, Any] = {"local_files_only": True, "trust_remote_code": False}
"""For classes that a folder chooses: nothing is downloaded, and nothing asks whether to run code."""
LIBRARIES = ("diffusers", "transformers")
"""Libraries that a model_index.json may name, besides the pipelines of diffusers; importing any other runs it."""
PLAIN_QUANTIZATION = {
    "bitsandbytes": "bitsandbytes", "bitsandbytes_4bit": "bitsandbytes", "bitsandbytes_8bit": "bitsandbytes",
    "quanto": "optimum-quanto", "torchao": "torchao",
}  # fmt: skip
"""Quantization methods that need no kernel from a hub, with their packages."""
KERNEL_KEYS = ("attn_implementation", "experts_implementation")
FILE_KEYS = ("vocab_file", "merges_file", "spm_file", "source_spm", "target_spm", "tokenizer_file", "transformers_weights")
"""Settings that name a file; some versions read it wherever it is."""
PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl")
_WEIGHTS = r"(?:diffusion_pytorch_model|pytorch_model|model|diffusion_flax_model)"
_SHARD = r"(?:-\d{5}-of-\d{5})?"
_PLAIN = re.compile(rf"{_WEIGHTS}{_SHARD}\.safetensors")
_VARIANT = re.compile(rf"{_WEIGHTS}(?:\.(?P<first>[^.]+?){_SHARD}|{_SHARD}\.(?P<last>[^.]+))\.safetensors")
_PICKLED = re.compile(rf"{_WEIGHTS}(?:[.-].*)?")


def pipeline_problem(folder: Path, components: Mapping[str, list[Any]]) -> str | None:
    """Why a diffusers folder must not be loaded, in words; None if nothing speaks against it."""
    return next(_pipeline_problems(folder, components), None)


def folder_problem(folder: Path) -> str | None:
    """The same for a folder of transformers, whose classes are chosen by its configuration."""
    return next(_folder_problems(folder, folder, own_classes=True), None)


def weights_variant(folder: Path, components: Mapping[str, list[Any]]) -> str | None:
    """The variant in the file names, such as fp16, if a component has no other weights.

    Raises ValueError, with the reason, if two components have no variant in common.
    """
    only = {name: found for name in components if (found := _variants(folder / name))}
    common = sorted(set.intersection(*only.values())) if only else []
    if only and not common:
        listed = ", ".join(f"{name} as {' and '.join(sorted(found))}" for name, found in only.items())
        raise ValueError(f"its components have weights of different variants ({listed}). Download one variant of all.")
    return common[0] if common else None


def _pipeline_problems(folder: Path, components: Mapping[str, list[Any]]) -> Iterator[str]:
    yield from _config_problems(folder, folder / "model_index.json", own_classes=False)
    for name, entry in components.items():
        if entry[0] is None:
            continue
        here = folder / name if (folder / name).is_dir() else folder
        yield from _library_problems(here, folder, name, str(entry[0]))
        yield from _folder_problems(here, folder, own_classes=False)


def _library_problems(here: Path, root: Path, name: str, library: str) -> Iterator[str]:
    if (here / f"{library}.py").is_file():
        yield f"it needs to run its own code ({(here / library).relative_to(root)}.py), which is never allowed"
    if library not in LIBRARIES and not _is_pipeline(library):
        yield f"its {name} comes from the library {library!r}, which is never imported. Only diffusers and transformers are"


def _is_pipeline(library: str) -> bool:
    return library.isidentifier() and importlib.util.find_spec(f"diffusers.pipelines.{library}") is not None


def _folder_problems(here: Path, root: Path, *, own_classes: bool) -> Iterator[str]:
    for config in sorted({*here.glob("*config.json"), *here.glob("adapter_config.json")}):
        yield from _config_problems(root, config, own_classes=own_classes)
    shown = "" if here == root else f"{here.relative_to(root)}/"
    if (here / "adapter_config.json").is_file():
        yield f"{shown}adapter_config.json makes it a LoRA of another model; merge it into its model, and save that"
    if (here / "custom_generate").exists():
        yield f"it needs to run its own code ({shown}custom_generate), which is never allowed"
    for index in sorted(here.glob("*.index*.json")):
        yield from _index_problems(root, index)
    yield from _pickle_problems(here, shown)


def _config_problems(root: Path, config: Path, *, own_classes: bool) -> Iterator[str]:
    if not config.is_file():
        return
    shown = config.relative_to(root)
    content = _read(config)
    if isinstance(content, str):
        yield f"{shown} cannot be read ({content}). Download it again"
        return
    for values in _objects(content):
        if "auto_map" in values and not (own_classes and _has_own_class(values)):
            yield f"it needs to run its own code ({shown} names it under auto_map), which is never allowed"
        yield from _value_problems(values, shown, config.parent)


def _value_problems(values: Mapping[str, Any], shown: Path, here: Path) -> Iterator[str]:
    for key, value in values.items():
        if any(part in key for part in KERNEL_KEYS) and any("/" in text for text in _texts(value)):
            yield f"{shown} asks for code from a hub ({key}), which is never fetched. Remove that line"
        if key in FILE_KEYS and isinstance(value, str) and not _is_plain(value) and (here / value).exists():
            yield f"{shown} names a file outside its folder ({key}), which is never read. Remove that line"
    quantization = values.get("quantization_config")
    method = quantization.get("quant_method") if isinstance(quantization, dict) else None
    if method in PLAIN_QUANTIZATION and not _installed(package := PLAIN_QUANTIZATION[method]):
        yield f"{shown} asks for weights quantized by {package}, which is not installed: pip install {package}"
    if method is not None and method not in PLAIN_QUANTIZATION:
        known = "bitsandbytes, quanto and torchao"
        yield f"{shown} asks for weights quantized by {method!r}; {known} are supported. Use the weights without quantization"


def _installed(package: str) -> bool:
    try:
        importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def _index_problems(root: Path, index: Path) -> Iterator[str]:
    if not index.is_file():
        return
    content, shown = _read(index), index.relative_to(root)
    files = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(files, dict) or not all(isinstance(file, str) for file in files.values()):
        yield f"{shown} does not list the files of the weights. Download it again"
        return
    for file in sorted(set(files.values())):
        # A link in the folder may lead elsewhere: the cache of Hugging Face consists of such links.
        if not _is_plain(file):
            yield f"{shown} names a file outside its folder ({file[:80]!r}), which is never read"
        elif file.endswith(".safetensors") and not (index.parent / file).is_file():
            yield f"{index.parent.relative_to(root) / file} is missing. Download it"


def _pickle_problems(here: Path, shown: str) -> Iterator[str]:
    files = [file for file in sorted(here.iterdir()) if _PICKLED.fullmatch(file.stem)]
    pickled = [file.name for file in files if file.suffix in PICKLES]
    if pickled and not any(file.suffix == ".safetensors" for file in files):
        yield (
            f"the weights are only in {shown}{pickled[0]}, a pickle, which could run code and is never opened. Download the "
            ".safetensors files. To convert a folder that you trust, open it in Python with from_pretrained and write it with "
            "save_pretrained"
        )


def _variants(here: Path) -> set[str]:
    """The variants of a component's weights; empty if it has weights without a variant."""
    names = [file.name for file in here.iterdir()] if here.is_dir() else []
    if any(_PLAIN.fullmatch(name) for name in names):
        return set()
    matches = filter(None, map(_VARIANT.fullmatch, names))
    return {match["first"] or match["last"] for match in matches}


def _has_own_class(config: Mapping[str, Any]) -> bool:
    """Whether transformers has a class of its own for the configuration, and then ignores what auto_map names."""
    tokenizer = str(config.get("tokenizer_class"))
    known = transformers.CONFIG_MAPPING.keys()
    return config.get("model_type") in known or any(hasattr(transformers, tokenizer + end) for end in ("", "Fast"))


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects in a JSON value."""
    waiting = [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict):
            yield part
        waiting.extend(part.values() if isinstance(part, dict) else part if isinstance(part, list) else ())


def _texts(value: Any) -> list[str]:
    """A text, or the texts in an object."""
    parts = value.values() if isinstance(value, dict) else [value]
    return [part for part in parts if isinstance(part, str)]


def _is_plain(name: str) -> bool:
    """Whether a name has no folder in it, on any system."""
    return not any(mark in name for mark in "/\\:\0") and name not in ("", ".", "..")


def _read(path: Path) -> Any:
    """A JSON object; a text that says why it cannot be read."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except RecursionError:
        return "it nests too deeply"
    except (OSError, ValueError) as error:
        return " ".join(str(error).split())
    return content if isinstance(content, dict) else "it is no JSON object"
