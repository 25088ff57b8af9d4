"""The commands of `convforge`: a file for each, with its parser and what it does.

What brings a package that takes long to import (Keras, TensorFlow, MLflow, Hydra, NumPy, Pydantic)
is imported inside the function that needs it: `--help` and a mistyped option answer at once.
"""
