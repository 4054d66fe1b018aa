"""Makes `t2vu_core` importable where only the pack was copied to custom_nodes, and finds a second copy of the pack."""

import importlib.util
import sys
from pathlib import Path

NAME = "t2vu_core"
ENTRY = ".nodes.extension"
COPIES = ".nodes.comfy_bridge.copies"


def provide_core() -> None:
    """Register the t2vu_core next to this folder, unless one is installed.

    Only that package becomes visible: with the pack's folder on sys.path, other packs would also see `nodes` and `tests`.
    """
    if NAME in sys.modules or importlib.util.find_spec(NAME) is not None:
        return
    folder = Path(__file__).resolve().parent.parent / NAME
    spec = importlib.util.spec_from_file_location(NAME, folder / "__init__.py", submodule_search_locations=[str(folder)])
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)


def other_copy() -> Path | None:
    """The folder of another copy of this pack whose nodes ComfyUI has already loaded."""
    for name, module in list(sys.modules.items()):
        if name.endswith(ENTRY) and name != f"{__package__}.extension" and hasattr(module, "T2VUnlearning"):
            return Path(str(module.__file__)).parent.parent
    return None


def has_warned() -> bool:
    """Whether another copy of this pack, which ComfyUI has loaded, has found this one and logged it."""
    return any(name.endswith(COPIES) and bool(getattr(module, "warned", None)) for name, module in list(sys.modules.items()))
