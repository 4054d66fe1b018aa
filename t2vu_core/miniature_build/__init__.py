"""How the bundled miniatures and their detectors are trained."""
