"""Export to other programs' files, and import of the paper's released erasers."""

from t2vu_core.interchange.encoder_files import export_encoder
from t2vu_core.interchange.lora_files import LAYOUTS, Layout, export_lora
from t2vu_core.interchange.released import import_released

__all__ = ["LAYOUTS", "Layout", "export_encoder", "export_lora", "import_released"]
