"""From a config and images to tracked runs: needs the extra `pipeline`.

An import inside a function brings a package that takes long to start (Keras, TensorFlow, MLflow,
Ray, Matplotlib, …) and that others who import the file may not need; all others stand at the top.
"""
