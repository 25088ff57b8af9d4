"""Pictures of a run: learning curves, kernels, confusion matrix, sheets of images."""
