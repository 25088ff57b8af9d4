"""Which client a store has: here, and nowhere else in the pipeline, a tracker is chosen."""

from __future__ import annotations

from collections.abc import Callable

from convforge.pipeline.tracking.client import TrackingClient
from convforge.pipeline.tracking.mlflow_client import MLflowStore
from convforge.pipeline.tracking.store import Store


class Clients:
    """One client for each store, however many runs go there.

    Args:
        warn: told what a person should know of a store.
    """

    def __init__(self, warn: Callable[[str], None]) -> None:
        self._warn = warn
        self._clients: dict[Store, TrackingClient] = {}

    def of(self, store: Store) -> TrackingClient:
        """The store's."""
        return self._clients.setdefault(store, MLflowStore(store, self._warn))
