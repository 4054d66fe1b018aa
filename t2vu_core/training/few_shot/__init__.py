"""Few-shot encoder unlearning (arXiv 2407.14209 on 2405.07288)."""
