"""The node pack: its entry point, and the folder of its help pages."""

from .core_package import provide_core

provide_core()

# Only now: the nodes import t2vu_core.
from .extension import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
