"""Image files → shards, statistics and a manifest."""
