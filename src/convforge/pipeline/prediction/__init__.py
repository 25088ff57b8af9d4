"""Predicting: which model, which images, and how the answers are written."""
