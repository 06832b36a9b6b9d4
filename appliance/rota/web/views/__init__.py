"""View models: what a page says, decided here and in words, from what rotad knows. No I/O, no markup but pictures."""
