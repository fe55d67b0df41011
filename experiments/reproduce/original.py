"""A trial as it was logged: found in the tracking store, and trained again from that alone by a Dask worker."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from distributed import get_worker

from depthcheck.experiments import tracking
from depthcheck.experiments.addresses import shown
from depthcheck.experiments.cluster.worker import load_once, one_at_a_time
from depthcheck.experiments.reproduce.deviations import compare
from depthcheck.experiments.tracking import CodeVersion, Curves, StoredRun, keys, score_values, whole_trial_values
from depthcheck.pipeline.config import TrialConfig

if TYPE_CHECKING:
    from depthcheck.pipeline.records import Dataset
    from depthcheck.pipeline.trial import TrainedTrial

#: Topic of Dask's events that carry each epoch's numbers.
REPRODUCTION_TOPIC = "depthcheck-reproduction"


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A trial that has ended, as it was logged.

    Attributes
    ----------
    unknown_params
        Parameters of the run that this version of the code does not know.
    points
        Every number of the run but for times.
    model_is_gone
        Whether it logged a model whose files can no longer be found.
    code, environments
        What it was made with: the trial's own version of the code, and what the sessions of its study ran on, the
        latest first, each kind once.
    """

    run: StoredRun
    config: TrialConfig
    unknown_params: Mapping[str, str]
    points: Curves
    model_is_gone: bool
    code: CodeVersion
    environments: Sequence[Mapping[str, Any]]

    @property
    def state(self) -> str:
        """How it ended: finished, diverged or pruned."""
        return self.run.tags[keys.STATE]

    @property
    def is_confirm(self) -> bool:
        """Whether the test part was opened and layers were diagnosed."""
        return self.run.phase == "confirm"

    @property
    def is_scored(self) -> bool:
        """Whether its network was scored on the test part when the search had ended."""
        return not self.is_confirm and keys.test("loss") in self.points

    @property
    def n_epochs(self) -> int:
        """How many epochs are to be trained again.

        A pruned trial was stopped from outside, so that its log alone says how many it had; any other ends by itself.
        """
        return max(self.points["train/loss"]) if self.state == "pruned" else self.config.fit.epochs


def find(uri: str, *, run_id: str | None, study: str | None) -> Original:
    """Return the trial that is asked for: a run's, or the best of a study, or of the latest one.

    Raises
    ------
    ValueError
        When there is none, more than one, or it cannot be reproduced; says which and why.
    """
    if run_id is not None and study is not None:
        raise ValueError(f"run_id or study must be given, not both, got {run_id!r} and {study!r}")
    tracking.require_there(uri)
    wanted = run_id or _best_of(uri, study)
    run = tracking.find_run(uri, wanted)
    if run is None:
        raise ValueError(f"run_id must be of a run in {shown(uri)}, got {wanted!r}")
    _require_trial(run)
    config, unknown = _config_of(run)
    points = tracking.logged_points(uri, wanted)
    if keys.SCORED_NETWORK in run.tags:  # another network's test scores are no numbers of this trial
        points = {key: curve for key, curve in points.items() if not key.startswith(keys.test(""))}
    if not points.get("train/loss"):
        raise ValueError(f"run {wanted} must have curves to be compared with, got none: was it written to its end?")
    return Original(
        run=run,
        config=config,
        unknown_params=unknown,
        points=points,
        model_is_gone=tracking.model_is_gone(uri, run),
        code=_code_of(run),
        environments=tracking.session_environments(uri, run.tags[keys.PARENT_RUN]),
    )


def _best_of(uri: str, study: str | None) -> str:
    """Return the run of the champion, or of the best trial where nothing was confirmed."""
    found = tracking.studies(uri, study)
    if not found:
        known = ", ".join(dict.fromkeys(one.study for one in tracking.studies(uri)[:10]))
        if study is None or not known:
            raise ValueError(tracking.no_study(uri))
        raise ValueError(f"study must be one of {known}, got {study!r}")
    if study is not None and len(found) > 1:
        runs = "; ".join(f"{one.run_id} of {one.started:%Y-%m-%d %H:%M} UTC" for one in found)
        raise ValueError(f"study must be one study, got {study!r}, of which there are {len(found)} ({runs}): "
                         "give the run_id of a trial")  # fmt: skip
    of = tracking.latest(found)
    best = tracking.best_run(uri, of.run_id)
    if best == of.run_id:
        raise ValueError(f"study {of.study!r} must have a champion or a best trial, got neither (yet): "
                         "give the run_id of a trial")  # fmt: skip
    return best


def _require_trial(run: StoredRun) -> None:
    """Complain about what is no trial that has ended with numbers to compare."""
    run.require_readable()
    trial = f"run_id must be of a trial that has ended, got {run.run_id}"
    if run.is_deleted:
        raise ValueError(f"{trial}, which was deleted (mlflow runs restore --run-id {run.run_id} brings it back)")
    if run.phase == keys.PHASE_STUDY:
        raise ValueError(f"{trial}, which is the study {run.study} (its best trial: study={run.study})")
    if run.phase == keys.PHASE_REPRODUCTION:
        raise ValueError(f"{trial}, a reproduction (of {run.tags.get(keys.REPRODUCED_RUN)})")
    if not run.is_trial or not {keys.TRIAL_NUMBER, keys.PARENT_RUN, keys.METRIC} <= run.tags.keys():
        raise ValueError(f"{trial}, which is no trial of this project ({run.name})")
    if run.tags.get(keys.STATE) == "failed":
        raise ValueError(f"{trial}, which failed: {run.tags.get(keys.FAILURE, 'for a reason that was not noted')}")
    if run.status not in ("FINISHED", "FAILED") or keys.STATE not in run.tags:
        raise ValueError(f"{trial}, which is {run.status}")


def _config_of(run: StoredRun) -> tuple[TrialConfig, dict[str, str]]:
    """Rebuild the configuration from parameters alone, and name those that took no part."""
    try:
        config = TrialConfig.from_params(run.params)
    except (ValueError, OverflowError) as error:
        written = f"schema version {run.schema_version}, code {_code_of(run).commit[:12]}"
        raise ValueError(f"run {run.run_id} cannot be rebuilt: {error} ({written})") from error
    known = config.to_params()
    return config, {key: value for key, value in run.params.items() if key not in known}


def _code_of(run: StoredRun) -> CodeVersion:
    commit = run.tags.get(keys.CODE_VERSION, CodeVersion().commit)
    return CodeVersion(commit=commit, dirty={"true": True, "false": False}.get(run.tags.get(keys.DIRTY, "")))


def train_again(
    config: TrialConfig, *, number: int, n_epochs: int, confirm: bool, score: bool, data_folder: str | None
) -> Curves:
    """Train a configuration as a trial of a study does, for as many epochs. Nothing is written: numbers travel back.

    Parameters
    ----------
    number
        Of this repetition; it goes with each epoch's numbers.
    n_epochs
        Training stops behind this epoch, as it did where the trial was pruned.
    confirm
        Whether the test part was opened and layers were diagnosed.
    score
        Whether the network is to be scored on the test part, as those of a search are when it has ended.

    Raises
    ------
    RuntimeError
        When the data are no longer those of the trial, or it cannot be trained here.
    """
    points: dict[str, dict[int, float]] = {}

    def tell(epoch: int, metrics: dict[str, float]) -> None:
        worker.log_event(REPRODUCTION_TOPIC, {"number": number, "epoch": epoch, "metrics": metrics})

    with one_at_a_time:
        dataset, worker = load_once(config.data, data_folder, config.data_sha256), get_worker()
        try:
            _train(config, dataset, points, n_epochs=n_epochs, confirm=confirm, score=score, tell=tell)
        except Exception as error:  # noqa: BLE001 - whatever a configuration can raise
            failure = f"{type(error).__name__}: {error}".splitlines()[0]
            raise RuntimeError(f"the trial cannot be trained here: {failure}") from None
    return points


def write_model_again(original: Original, study_run: tracking.StudyRun) -> str | None:
    """Train a trial again and write its model beside the one that is damaged, as the one that counts.

    Only where every number is the logged one: then the weights are those that were lost, and no others. Returns why
    it was not written, or None.
    """
    points: dict[str, dict[int, float]] = {}
    config = original.config
    with one_at_a_time:
        dataset = load_once(config.data, None, config.data_sha256)
        trained = _train(
            config, dataset, points, n_epochs=original.n_epochs, confirm=original.is_confirm, score=original.is_scored
        )
    first = compare(original.points, points).first
    if first is not None:
        return f"trained again, {first.curve} of epoch {first.epoch} is {first.now!r} and was {first.before!r}"
    run = tracking.TrialRun(study_run, original.run.run_id)
    if trained.example is not None:
        run.log_example(trained.example)
    run.log_model(trained.result, trained.model, trained.preparation if dataset.is_table else None)
    return None


def _train(
    config: TrialConfig,
    dataset: Dataset,
    points: dict[str, dict[int, float]],
    *,
    n_epochs: int,
    confirm: bool,
    score: bool,
    tell: Callable[[int, dict[str, float]], None] | None = None,
) -> TrainedTrial:
    """Train as a trial does and put every number but times into ``points``, while it trains."""
    # Imported here: the launching process imports this module too, and must never wait for TensorFlow.
    from depthcheck.pipeline.trial import judge, run_trial

    def on_epoch_end(epoch: int, metrics: dict[str, float]) -> bool:
        for key, value in metrics.items():
            points.setdefault(key, {})[epoch] = float(value)
        if tell is not None:
            tell(epoch, metrics)
        return epoch >= n_epochs

    trained = run_trial(config, dataset, on_epoch_end=on_epoch_end, confirm=confirm)
    test = score_values(judge(trained.model, config, dataset)[0]) if score else {}
    for key, value in (whole_trial_values(trained.result) | test).items():
        if key not in keys.TIMES:
            points.setdefault(key, {})[0] = float(value)
    return trained
