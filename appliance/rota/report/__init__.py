"""Reports: what the journal says of a period, for people and for programs."""
