"""From a config and images to tracked runs: needs the extra `pipeline`."""
