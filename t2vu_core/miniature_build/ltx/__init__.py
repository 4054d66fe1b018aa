"""Training of `miniature-ltx`, on a GPU or a CPU with the same code."""
