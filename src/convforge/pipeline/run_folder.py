"""What a run leaves in its folder, and an evaluation in its own: the names, in one place."""

from __future__ import annotations

#: The config that the run was made by; `Settings` parse it.
CONFIG = "config.yaml"
#: A table of every epoch's figures.
HISTORY = "history.csv"
#: The trained model, and its card.
MODEL = "model"
#: The weights of the best epoch, as `model`.
BEST = "best"
#: Those from before the loss went wrong, where it did.
LAST_GOOD = "last_good"
PICTURES = "pictures"
#: The data's card and contact sheets.
DATA = "data"
#: The figures on the test split.
METRICS = "metrics.json"
#: What the model said of every test image.
PREDICTIONS = "predictions.csv"
