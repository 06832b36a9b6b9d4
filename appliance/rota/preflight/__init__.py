"""Pre-flight: what a node finds on its way to each member, before a patient depends on it."""
