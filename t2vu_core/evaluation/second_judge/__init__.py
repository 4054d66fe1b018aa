"""The second judge: a network that was trained on photographs, and a linear probe on renders of a miniature's world."""
