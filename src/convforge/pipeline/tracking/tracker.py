"""What a stage has of tracking: a journal to write to, and a sender that it need not wait for."""

from __future__ import annotations

import uuid
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

from convforge.pipeline.progress import Progress
from convforge.pipeline.settings.tracking import MLflowTracking, TrackingSettings
from convforge.pipeline.tracking.clients import Clients
from convforge.pipeline.tracking.journal import Journal
from convforge.pipeline.tracking.outbox import deliveries, open_journal, settle, tidy, waiting
from convforge.pipeline.tracking.replay import Replay, State
from convforge.pipeline.tracking.store import Store, store_of
from convforge.pipeline.tracking.system_metrics import system_metrics
from convforge.pipeline.tracking.uploader import Uploader


class Tracker:
    """One run's journal, delivered while the run goes on.

    Tracking never stops a run: after `begin` nothing here raises for a store's sake, and `finish`
    waits `tracking.patience` seconds for an answer at most.

    Args:
        settings: of tracking; `none` keeps the journal in the run's folder and delivers nothing.
        run_folder: of the run.
        root: the project's folder.
        progress: where to say what could not be delivered.
        kind: train, evaluate or sweep.
        key: of a run that there is: one to complete, or one to go on with.

    Raises:
        InputError: MLFLOW_TRACKING_URI names a store that MLflow does not know.
    """

    def __init__(
        self,
        settings: TrackingSettings,
        run_folder: Path,
        root: Path,
        progress: Progress,
        *,
        kind: str,
        key: str | None = None,
    ) -> None:
        self.store: Store | None = store_of(settings, root)
        #: What the run is called in every store.
        self.key = key or uuid.uuid4().hex
        #: The run's id in the store, once `finish` has seen all of it arrive there.
        self.delivered: str | None = None
        self._settings, self._root, self._progress = settings, root, progress
        self._run_folder = run_folder
        self._own: list[Replay] = []
        self._sender: Uploader | None = None
        if self.store is None:
            self.journal = Journal(run_folder)
        else:
            # A run may be evaluated again before the first time is delivered.
            again = f"-{uuid.uuid4().hex[:8]}" if kind == "evaluate" else ""
            self.journal = open_journal(root, run_folder, f"{kind}-{self.key}{again}")

    def start(self) -> None:
        """Deliver from now on; the journal has begun."""
        if not isinstance(self._settings, MLflowTracking):
            return
        assert self.store is not None
        self.journal.leave_in(self._run_folder)
        if State.read(self.journal.folder).key is None:
            State(key=self.key, tracking_uri=self.store.uri).write(self.journal.folder)
        before = [
            journal
            for journal in waiting(self._root)
            if journal.key == self.key and journal.folder != self.journal.folder
        ]
        clients = Clients(self._progress.warn)
        self._own = deliveries([*before, self.journal], clients, self._progress)
        folders = {delivery.journal.folder for delivery in self._own}

        def earlier() -> list[Replay]:
            others = [item for item in waiting(self._root) if item.folder not in folders]
            return deliveries(others, clients, self._progress)

        self._progress.detail("tracking: imports MLflow")
        # Of earlier runs' stores too: the thread must not import beside the training.
        begun = [item.first.content for item in waiting(self._root) if item.first]
        for store in {self.store, *(Store(each["uri"], each["experiment"]) for each in begun)}:
            clients.of(store).prepare()
        self._sender = Uploader(
            self._own, earlier, self._progress, self._settings.patience, tidy(self._root)
        )
        self._sender.start()

    def wake(self) -> None:
        """There is something new in the journal."""
        if self._sender is not None:
            self._sender.wake()

    def system_metrics(self) -> AbstractContextManager[None]:
        """A block in which the machine's figures are written too, if the config asks for them."""
        settings = self._settings
        if not isinstance(settings, MLflowTracking) or not settings.system_metrics:
            return nullcontext()
        seconds = settings.system_metrics_seconds
        return system_metrics(self.journal, seconds, self._progress.warn)

    def finish(self) -> None:
        """Deliver what is left while that goes well; say so if something must wait."""
        self.journal.release()
        if self._sender is None:
            return
        try:
            self._sender.finish()
        finally:
            *before, own = self._own
            if own.waiting:
                self._progress.warn(
                    f"tracking: {own.waiting} of this run's events wait for {own.uri}; "
                    "`convforge sync` or the next run delivers them"
                )
            elif not any(delivery.waiting for delivery in before):
                self.delivered = own.state.run_id
            settle(self.journal, own, self._run_folder)
            for delivery in before:
                if delivery.is_complete:
                    tidy(self._root)(delivery)
            self._sender.release()
