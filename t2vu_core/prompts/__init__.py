"""Prompts of a training run: what a user requests, the plan made from it, templates, paraphrases, preserve prompts."""
