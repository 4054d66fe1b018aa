"""The second miniature: a text-to-image model of Stable Diffusion's classes, and AnimateDiff on top of it."""
