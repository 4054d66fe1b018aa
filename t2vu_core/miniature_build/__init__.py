"""Training of the miniatures; nothing here is needed to use them."""
