"""One training service for every method: trajectories, the loop, progress."""
