"""One training run: backend, optimizer and schedule, the loop's callbacks, what is saved."""
