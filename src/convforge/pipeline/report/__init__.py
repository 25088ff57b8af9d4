"""Pictures of a run: curves, kernels, confusion matrix, Grad-CAM, sheets of images."""
