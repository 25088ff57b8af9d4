"""Networks from configs: typed layer specs, their cost, and the Keras model.

`specs` and `summary` need neither Keras nor weights; `build` makes the model.
"""
