"""The study's page in MLflow while it runs and when it has ended: description, best trial, state."""

from __future__ import annotations

import time

from depthcheck.experiments import tracking
from depthcheck.experiments.planning import design
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.study.describe import EndedTrial, best_of, study_markdown
from depthcheck.experiments.study.ledger import Ledger, is_told, point_of
from depthcheck.experiments.tracking.store import require_at_hand
from depthcheck.experiments.tracking.study_run import RunEnd
from depthcheck.pipeline.records import Dataset

#: Least time between two updates of the page while the study runs.
_NOTE_SECONDS = 15.0


class StudyPage:
    """Keeps the study's run up to date with its ledger."""

    def __init__(
        self, ledger: Ledger, experiment: Experiment, dataset: Dataset, study_run: tracking.StudyRun, parts: str
    ) -> None:
        self._ledger = ledger
        self._experiment = experiment
        self._dataset = dataset
        self._study_run = study_run
        self._parts = parts
        self._noted = time.monotonic()

    def note(self) -> None:
        """Write the description and the best trial so far."""
        trials = ended(self._ledger)
        n_planned = len(design.plan(self._experiment, self._ledger.rounds()))
        self._study_run.describe(
            study_markdown(
                self._experiment,
                self._dataset,
                study=self._ledger.name,
                n_planned=n_planned,
                trials=trials,
                parts=self._parts,
            )
        )
        best = best_of(trials)
        if best is not None and best.score is not None:
            self._study_run.log_best(
                number=best.number,
                run_id=best.run_id,
                score=best.score,
                metric=self._dataset.metric,
                trials_done=len(trials),
            )

    def note_now_and_then(self) -> None:
        """Write them unless that was done a moment ago."""
        if time.monotonic() - self._noted > _NOTE_SECONDS:
            self.note()
            self._noted = time.monotonic()

    def abandon(self, status: RunEnd) -> None:
        """Close what can be closed when the session ends early; a store that is away is not waited for."""
        require_at_hand(self._study_run.tracking_uri)
        self.close(status)

    def close(self, status: RunEnd) -> None:
        """Close what is still RUNNING below the study's run, and end the study's run itself."""
        tracking.close_stale(self._study_run.tracking_uri, self._study_run.run_id)
        self.note()
        self._study_run.finish(status)


def ended(ledger: Ledger) -> list[EndedTrial]:
    """Return the study's trials that have ended."""
    return [
        EndedTrial(
            number=trial.number,
            run_id=trial.user_attrs.get("run_id", ""),
            phase=trial.user_attrs["phase"],
            state=trial.user_attrs["state"],
            score=trial.value,
            point=point_of(trial),
        )
        for trial in ledger.trials()
        if is_told(trial)
    ]
