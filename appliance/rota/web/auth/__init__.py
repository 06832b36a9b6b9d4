"""People: who they are, how they show it, and for how long that holds."""
