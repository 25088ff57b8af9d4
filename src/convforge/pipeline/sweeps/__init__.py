"""Jobs of Hydra, launched here or on a cluster, as children of one run."""
