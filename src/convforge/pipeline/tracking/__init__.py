"""What a run says of itself: first to a journal in its folder, from there to MLflow."""
