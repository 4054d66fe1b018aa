"""Velocity erasing: T2VUnlearning (arXiv 2505.17550), one room a part."""
