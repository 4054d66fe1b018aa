"""What a training run needs in memory, planned from shapes, and how a model is made to fit."""
