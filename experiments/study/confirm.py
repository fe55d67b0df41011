"""From search to confirmation: the finalists are frozen before any network meets the test part."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from depthcheck.experiments.planning import design, space
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.finalists import Finalist, SearchedTrial, choose, frozen_hash, missing_runs
from depthcheck.experiments.study.coordinator import StudyContext
from depthcheck.experiments.study.ledger import Ledger, point_of
from depthcheck.pipeline.config import ParamValue, SplitConfig


def freeze_selection(context: StudyContext, ledger: Ledger) -> None:
    """Log what the search would choose by now, before its networks meet the test part; nothing is trained for it."""
    experiment = context.experiment
    rounds = [one for one in ledger.rounds() if isinstance(one, design.ConfirmRound)]
    frozen = frozen_list(experiment, choose(experiment, searched(ledger)), rounds, context.data_sha256, context.split)
    context.study_run.log_finalists(frozen)


def freeze_finalists(context: StudyContext, ledger: Ledger, chosen: tuple[Finalist, ...] = ()) -> bool:
    """Add a round of confirming to a study whose search has ended; tell whether it has anything to train.

    The list and its hash are in MLflow before any network meets the test part, and in the ledger where there is
    something to train. A study that was extended, or is to have more seeds, gets another round: what has been trained
    before is not trained again.
    """
    experiment = context.experiment
    finalists = chosen or choose(experiment, searched(ledger))
    rounds = [one for one in ledger.rounds() if isinstance(one, design.ConfirmRound)]
    runs = missing_runs(finalists, experiment.budget.seeds, [run for one in rounds for run in one.runs])
    if runs:
        ledger.add_round(design.ConfirmRound(finalists=finalists, runs=runs))
    confirming = [*rounds, design.ConfirmRound(finalists=finalists, runs=runs)]
    context.study_run.log_finalists(frozen_list(experiment, finalists, confirming, context.data_sha256, context.split))
    return bool(runs)


def frozen_list(
    experiment: Experiment,
    finalists: Sequence[Finalist],
    rounds: Sequence[design.ConfirmRound],
    data_sha256: str,
    split: SplitConfig,
) -> dict[str, Any]:
    """Return what is logged of frozen finalists: their hash, the fresh seeds of all rounds so far, who they are."""
    n_seeds = 1 + max((index for one in rounds for _, index in one.runs), default=-1)
    return {
        "sha256": frozen_hash(finalists),
        "seeds": [design.derive_seed(experiment.seed, "confirm", index) for index in range(n_seeds)],
        "finalists": [
            {
                "id": finalist.id,
                "number": finalist.number,
                "origin": finalist.origin,
                "selected_score": finalist.selected_score,
                "stands_for": finalist.stands_for,
                "params": space.to_config(
                    experiment, finalist.point, seed=0, data_sha256=data_sha256, split=split
                ).to_params(),
            }
            for finalist in finalists
        ],
    }


def searched(ledger: Ledger) -> list[SearchedTrial]:
    """Return the trials of the search that ended with a score; a pruned one has none that counts."""
    return [
        SearchedTrial(
            number=trial.number,
            phase=trial.user_attrs["phase"],
            cell=trial.user_attrs["cell"],
            point=point_of(trial),
            score=trial.value,
        )
        for trial in ledger.trials()
        if trial.user_attrs["phase"] != "confirm"
        and trial.user_attrs.get("state") in ("finished", "diverged")
        and trial.value is not None
    ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Champion:
    """The finalist with the best mean validation score over the seeds, and its run with the best one."""

    finalist: str
    run_id: str
    mean_score: float
    n_seeds: int
    point: Mapping[str, ParamValue]


def champion(ledger: Ledger) -> Champion | None:
    """Return the champion among the finalists frozen last, or None before any was confirmed.

    Chosen on the validation part: the test part reports, and never chooses. The run whose model is registered is that
    of the best validation score too.
    """
    confirm_rounds = [one for one in ledger.rounds() if isinstance(one, design.ConfirmRound)]
    if not confirm_rounds:
        return None
    current = {finalist.id for finalist in confirm_rounds[-1].finalists}
    scores: dict[str, list[tuple[float, str]]] = {}
    points: dict[str, Mapping[str, ParamValue]] = {}
    for trial in ledger.trials():
        finalist = trial.user_attrs.get("finalist")
        if (
            finalist in current
            and trial.value is not None
            and trial.user_attrs.get("state") in ("finished", "diverged")
        ):
            scores.setdefault(finalist, []).append((trial.value, trial.user_attrs["run_id"]))
            points[finalist] = point_of(trial)
    if not scores:
        return None
    means = {finalist: sum(score for score, _ in found) / len(found) for finalist, found in scores.items()}
    best = max(means, key=lambda finalist: means[finalist])
    return Champion(
        finalist=best,
        run_id=max(scores[best])[1],
        mean_score=means[best],
        n_seeds=len(scores[best]),
        point=points[best],
    )
