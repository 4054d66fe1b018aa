"""The node pack: which nodes there are, and where their help pages lie."""

from .core_package import provide_core

provide_core()

# Only now: the nodes import t2vu_core.
from .extension import comfy_entrypoint

WEB_DIRECTORY = "./web"

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
