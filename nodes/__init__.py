"""The node pack: its entry point, and the folder of its help pages."""

import logging
from pathlib import Path

from .core_package import has_warned, other_copy, provide_core

_first = other_copy()
if _first is None:
    provide_core()
    # Only now: the nodes import t2vu_core.
    from .extension import comfy_entrypoint

    WEB_DIRECTORY: str | None = "./web"
else:
    # Both copies would share one t2vu_core, and the nodes of this one may not fit it.
    from .second_copy import comfy_entrypoint

    WEB_DIRECTORY = None
    if not has_warned():
        logging.getLogger(__name__).warning(
            "T2V Unlearning is in custom_nodes twice: %s and %s. The nodes are those of the first; remove one "
            "of the two folders.",
            _first,
            Path(__file__).parent.parent,
        )

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
