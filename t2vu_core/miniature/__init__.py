"""The miniatures: a world of captioned cartoon clips, models truly trained on it, and their detector."""
