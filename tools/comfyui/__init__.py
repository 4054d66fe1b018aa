"""A real ComfyUI for the demo, for `./run serve` and for the tests."""

from tools.comfyui.client import Rejected, Result, queue
from tools.comfyui.server import ComfyServer, NoServer

__all__ = ["ComfyServer", "NoServer", "Rejected", "Result", "queue"]
