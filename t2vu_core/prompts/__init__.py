"""The prompts of a training: requests, contexts, augmentation, preserve sets, the plan."""
