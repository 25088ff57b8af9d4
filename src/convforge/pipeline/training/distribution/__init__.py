"""One batch shared by several devices or machines."""
