"""The lecture's comparing sentences as experiments: a protocol, its runs, a verdict."""
