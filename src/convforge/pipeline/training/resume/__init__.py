"""Checkpoints, and runs that go on where they were stopped."""
