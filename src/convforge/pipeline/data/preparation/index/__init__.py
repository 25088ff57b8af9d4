"""What a source holds, item by item, in a database on disk."""
