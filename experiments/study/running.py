"""The study as one object: its definition, what its data resolved, its plan, its trials and who was chosen among them.

:class:`RecordedStudy` is what Optuna's storage holds and all that follows from it, for the doctor as well as a session.
:class:`RunningStudy` adds where a session writes; the session opens it and hands it on.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from optuna.trial import FrozenTrial

from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.design import ConfirmRound, PlannedTrial
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import Finalist, StudyTrial, choose, frozen_hash, highest, missing_runs
from depthcheck.experiments.study.ledger import Ledger, as_known_at
from depthcheck.experiments.tracking import StudyRun, patiently
from depthcheck.pipeline.config import DataConfig, ParamValue, SplitConfig, TrialConfig
from depthcheck.pipeline.own import OwnModel
from depthcheck.pipeline.records import Dataset
from depthcheck.pipeline.scores import by_mean

#: States of trials of which the score counts.
_SCORED = ("finished", "diverged")


@dataclass(frozen=True, slots=True, kw_only=True)
class Resolved:
    """What a study's data resolved that its definition leaves open.

    Attributes
    ----------
    served
        What the served champion must know of the data, in JSON's types.
    """

    data_sha256: str
    split: SplitConfig
    metric: str
    served: Mapping[str, Any]

    @classmethod
    def by(cls, dataset: Dataset, split: SplitConfig) -> Resolved:
        """Return what these data resolve."""
        features = [column for column in dataset.columns if column.kind != "ignored"]
        served = {
            "is_table": dataset.is_table,
            "task": dataset.task,
            "target": dataset.target,
            "class_names": list(dataset.class_names),
            "sample_shape": list(dataset.sample_shape),
            "columns": [[column.name, column.kind] for column in features],
        }
        return cls(data_sha256=dataset.sha256, split=split, metric=dataset.metric, served=served)

    def noted(self, data: DataConfig) -> dict[str, Any]:
        """Return what a session notes of it, in JSON's types."""
        return {
            "data": data.to_params(), "split": self.split.to_params(), "metric": self.metric, "served": self.served,
        }  # fmt: skip


def _texts(stored: Mapping[str, Any]) -> dict[str, str]:
    return {key: str(value) for key, value in stored.items()}


def best_of(trials: Sequence[StudyTrial]) -> StudyTrial | None:
    """Return the search's finished trial with the highest validation score, the first of equals."""
    return highest(
        [one for one in trials if one.state == "finished" and one.phase != "confirm" and one.score is not None]
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The finalist with the best mean validation score over fresh seeds, and its run with the best one."""

    finalist: str
    run_id: str
    mean_score: float
    n_seeds: int
    point: Mapping[str, ParamValue]
    model: OwnModel | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordedStudy:
    """A study in Optuna's storage: all that it says of itself, and what follows from that.

    Trials and rounds are read anew each time. Every property raises TrackingError for trouble with the storage.
    """

    ledger: Ledger
    experiment: Experiment
    resolved: Resolved

    @classmethod
    def of(cls, ledger: Ledger) -> RecordedStudy:
        """Return the study with what its latest session noted; its budgets are in the ledger's rounds.

        A session that was killed before it noted anything has trained nothing.

        Raises
        ------
        ValueError
            When the study has no definition, or none that can be understood.
        """
        definition, noted = ledger.definition, ledger.resolved
        experiment = Experiment.from_json(ledger.name, definition)
        split = SplitConfig(valid_size=experiment.split.valid_size, seed=experiment.split.seed)
        if noted:
            split = SplitConfig.from_params(_texts(noted["split"]))
            # With the whole path of a file; the definition has its name alone.
            experiment = replace(experiment, data=DataConfig.from_params(_texts(noted["data"])))
        resolved = Resolved(
            data_sha256=str(definition["data_sha256"]),
            split=split,
            metric=str(noted.get("metric", "accuracy")),
            served=noted.get("served", {}),
        )
        return cls(ledger=ledger, experiment=experiment, resolved=resolved)

    @property
    def name(self) -> str:
        """The study's name."""
        return self.ledger.name

    @property
    def plan(self) -> list[PlannedTrial]:
        """All trials of the study, those that have ended among them."""
        return design.plan(self.experiment, self.ledger.rounds())

    @property
    def n_search(self) -> int:
        """How many trials the search has."""
        return sum(trial.phase != "confirm" for trial in self.plan)

    @property
    def n_unplanned(self) -> int:
        """How many trials will confirm finalists that are not frozen yet: at most, or by the best so far at least."""
        if not self.confirm_rounds:
            return design.n_to_confirm(self.experiment, self.plan)
        chosen = [one for one in self.confirm_rounds[-1].finalists if one.origin == "chosen"]
        return len(self._to_confirm(chosen or self.selected))

    @property
    def n_expected(self) -> int:
        """How many trials the study will have, those included that are not planned yet."""
        return len(self.plan) + self.n_unplanned

    @property
    def n_settings(self) -> int:
        """How many settings the plan has for each combination of levels."""
        return len({trial.common_setting for trial in self.plan if trial.phase == "compare"})

    @property
    def ended(self) -> list[StudyTrial]:
        """The trials that have ended; :meth:`Ledger.tell` complains of one that somebody else has ended."""
        ended = [trial for trial in self.ledger.trials() if trial.state.is_finished() and "state" in trial.user_attrs]
        return [StudyTrial.of(trial) for trial in ended]

    @property
    def search_has_ended(self) -> bool:
        """Whether every trial that was planned before the finalists has ended."""
        ended = {trial.number for trial in self.ledger.trials() if trial.state.is_finished()}
        return all(one.number in ended for one in self.plan if one.phase != "confirm")

    @property
    def confirm_rounds(self) -> list[ConfirmRound]:
        """The rounds of confirming so far, in order."""
        return [one for one in self.ledger.rounds() if isinstance(one, ConfirmRound)]

    @property
    def selected(self) -> tuple[Finalist, ...]:
        """Whom the search would choose by now; a trial that was pruned has no score that counts.

        A configuration that has been a finalist stays that one, whichever of its trials is the best by now: what it
        has on fresh seeds is not trained again.
        """
        searched = [one for one in self.ended if one.phase != "confirm"]
        chosen = choose(self.experiment, [one for one in searched if one.state in _SCORED and one.score is not None])
        before = [finalist for one in reversed(self.confirm_rounds) for finalist in one.finalists]
        known = [next((old for old in before if old.point == new.point), new) for new in chosen]
        return tuple(
            replace(new, id=old.id, number=old.number, origin=old.origin)
            for new, old in zip(chosen, known, strict=True)
        )

    def _to_confirm(self, finalists: Sequence[Finalist]) -> tuple[tuple[str, int], ...]:
        """Return which finalist is still to be trained on which fresh seed."""
        done = [run for one in self.confirm_rounds for run in one.runs]
        return missing_runs(finalists, self.experiment.budget.seeds, done)

    @property
    def champion(self) -> Champion | None:
        """The champion among the finalists frozen last, or None before any was confirmed.

        Chosen on the validation part, by the rule of the report's recommendation: the test part reports, and never
        chooses. The run whose model is registered is that of the best validation score too, the first of equals; None
        where all of them diverged: such a network answers nothing.
        """
        rounds = self.confirm_rounds
        current = {finalist.id: finalist for finalist in rounds[-1].finalists} if rounds else {}
        runs: dict[str, list[StudyTrial]] = {finalist: [] for finalist in current}
        for trial in self.ended:
            if trial.finalist in current and trial.score is not None and trial.state in _SCORED:
                runs[trial.finalist].append(trial)
        fresh = {finalist: [trial.score or 0.0 for trial in found] for finalist, found in runs.items()}
        best = next(iter(by_mean(fresh)), None)
        run = None if best is None else highest([trial for trial in runs[best] if trial.state != "diverged"])
        if best is None or run is None:
            return None
        return Champion(
            finalist=best,
            run_id=run.run_id,
            mean_score=sum(fresh[best]) / len(fresh[best]),
            n_seeds=len(fresh[best]),
            point=current[best].point,
            model=self.experiment.model,
        )

    def config(self, point: Mapping[str, ParamValue], seed: int, repeat: int) -> TrialConfig:
        """Return the configuration of a trial: its point on this study's data."""
        resolved = self.resolved
        return space.to_config(
            self.experiment, point, seed=seed, data_sha256=resolved.data_sha256, split=resolved.split, repeat=repeat
        )

    def known_to(self, number: int) -> list[FrozenTrial]:
        """Return the history that the proposal of a trial may know."""
        return as_known_at(self.ledger.trials(), number, self.experiment.budget.window)

    def proposal(self, number: int) -> dict[str, ParamValue]:
        """Return the point that TPE proposes for a trial."""
        seed = design.derive_seed(self.experiment.seed, "sampler", number)
        return space.propose(self.experiment, self.known_to(number), seed=seed)

    def frozen_list(self, finalists: Sequence[Finalist], rounds: Sequence[ConfirmRound]) -> dict[str, Any]:
        """Return what is logged of frozen finalists: their hash, the fresh seeds of all rounds so far, who they are."""
        n_seeds = 1 + max((index for one in rounds for _, index in one.runs), default=-1)
        return {
            "sha256": frozen_hash(finalists),
            "seeds": [design.derive_seed(self.experiment.seed, "confirm", index) for index in range(n_seeds)],
            "finalists": [
                {key: value for key, value in asdict(finalist).items() if key != "point"}
                | {"params": self.config(finalist.point, seed=0, repeat=0).to_params()}
                for finalist in finalists
            ],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class RunningStudy(RecordedStudy):
    """A study in a session: what all of its trials share, the user's folder of data, and where they are written."""

    study_run: StudyRun
    data_folder: str | None = None

    def freeze_selection(self) -> None:
        """Log what the search would choose by now, before its networks meet the test part; nothing is trained."""
        self.study_run.log_finalists(self.frozen_list(self.selected, self.confirm_rounds))

    def freeze_finalists(self, chosen: tuple[Finalist, ...] = ()) -> bool:
        """Add a round of confirming to a study whose search has ended; tell whether it has anything to train.

        The list and its hash are in MLflow before any network meets the test part, and then in the ledger where there
        is something to train. A study that was extended, or is to have more seeds, gets another round: what has been
        trained before is not trained again.
        """
        finalists = chosen or self.selected
        rounds = self.confirm_rounds
        new = ConfirmRound(finalists=finalists, runs=self._to_confirm(finalists))
        if chosen and not new.runs:
            finalists = rounds[-1].finalists  # by now another of their runs may be their best
        frozen = self.frozen_list(finalists, [*rounds, new])
        patiently(self.study_run.tracking_uri, lambda: self.study_run.log_finalists(frozen))
        # A longer search may choose again whom an earlier round confirmed: a round without runs says who counts.
        ids, known = {one.id for one in finalists}, {name for one in rounds for name, _ in one.runs}
        if new.runs or (rounds and ids <= known and ids != {one.id for one in rounds[-1].finalists}):
            self.ledger.add_round(new)
        return bool(new.runs)
