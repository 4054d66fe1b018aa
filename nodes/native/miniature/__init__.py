"""The bundled miniatures as ComfyUI's own MODEL, CLIP and VAE, with an empty LATENT of their size."""

from .load import MINIATURES, NativeMiniature, load_miniature
from .precision import PRECISIONS

__all__ = ["MINIATURES", "PRECISIONS", "NativeMiniature", "load_miniature"]
