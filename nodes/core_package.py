"""Makes `t2vu_core` importable in a pack folder that was only copied into custom_nodes."""

import importlib.util
import sys
from pathlib import Path

NAME = "t2vu_core"


def provide_core() -> None:
    """Leave an installed t2vu_core alone; otherwise register the one beside this folder.

    Only that package becomes visible: putting the pack's folder on sys.path would also offer `nodes` and
    `tests` to every other pack.
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
