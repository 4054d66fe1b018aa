"""One lock for all models that this pack makes out of ComfyUI's: models of one graph may share weights, so they take turns."""

import threading

LOCK = threading.RLock()
