"""Prompts for a training: templates, augmentation, sets that come with a model, preserve prompts."""

from t2vu_core.prompts.plan import PromptPair, PromptPlan, plan_prompts

__all__ = ["PromptPair", "PromptPlan", "plan_prompts"]
