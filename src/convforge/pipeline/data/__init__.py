"""From image files to batches: sources → decode → split → shards + manifest → stream."""
