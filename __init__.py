"""T2V Unlearning as a ComfyUI pack: everything is in `nodes/`."""

from .nodes import WEB_DIRECTORY, comfy_entrypoint

__all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
