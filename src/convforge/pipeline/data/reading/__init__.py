"""Shards → batches, as a pure function of seed, epoch and example."""
