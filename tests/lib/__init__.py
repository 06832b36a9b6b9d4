"""What tests, the demo and the benchmarks share: waiting for a state, and the lab's hosts."""
