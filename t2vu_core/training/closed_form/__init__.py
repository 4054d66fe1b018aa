"""Closed-form erasing: UCE (arXiv 2308.14761) and RECE (arXiv 2407.12383) on the keys and values of the text."""
