"""The demonstration: a real series goes through the pair while a member and a node die."""
