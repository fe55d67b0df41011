"""Which trial is reproduced, and what is known of it: from its run in the tracking store and from nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from depthcheck.experiments import tracking
from depthcheck.experiments.tracking import CodeVersion, LoggedRun, Points, StudySummary, keys
from depthcheck.pipeline.config import TrialConfig

_PHASES = ("anchor", "compare", "exploit", "confirm")
_LATEST = "run one first, or name another store in MLFLOW_TRACKING_URI"


@dataclass(frozen=True, slots=True, kw_only=True)
class Original:
    """A trial that has ended, as it was logged.

    Attributes
    ----------
    unknown_params
        Parameters of the run that this version of the code does not know.
    points
        Every number of the run but for times.
    code, environments
        What it was made with: the trial's own version of the code, and what the sessions of its study ran on, the
        latest first, each kind once.
    """

    run: LoggedRun
    config: TrialConfig
    unknown_params: Mapping[str, str]
    points: Points
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
    TrackingError
        When the store cannot be read.
    """
    if run_id is not None and study is not None:
        raise ValueError(f"run_id or study must be given, not both, got {run_id!r} and {study!r}")
    if not tracking.is_there(uri):
        raise ValueError(f"no study in {uri}; {_LATEST}")
    wanted = run_id or _best_of(uri, study)
    run = tracking.logged_run(uri, wanted)
    if run is None:
        raise ValueError(f"run_id must be of a run in {uri}, got {wanted!r}")
    _require_trial(run)
    config, unknown = _config_of(run)
    points = tracking.logged_points(uri, wanted)
    if not points.get("train/loss"):
        raise ValueError(f"run {wanted} must have curves to be compared with, got none: was it written to its end?")
    return Original(
        run=run,
        config=config,
        unknown_params=unknown,
        points=points,
        code=_code_of(run),
        environments=tracking.session_environments(uri, run.tags[keys.PARENT_RUN]),
    )


def _best_of(uri: str, study: str | None) -> str:
    """Return the run of the champion, or of the best trial where nothing was confirmed."""
    found = tracking.studies(uri, study)
    if not found:
        known = ", ".join(dict.fromkeys(one.study for one in tracking.studies(uri)[:10]))
        if study is None or not known:
            raise ValueError(f"no study in {uri}; {_LATEST}")
        raise ValueError(f"study must be one of {known}, got {study!r}")
    if study is not None and len(found) > 1:
        runs = "; ".join(f"{one.run_id} of {one.started:%Y-%m-%d %H:%M} UTC" for one in found)
        raise ValueError(f"study must be one study, got {study!r}, of which there are {len(found)} ({runs}): "
                         "give the run_id of a trial")  # fmt: skip
    return _best_run(uri, found[0])


def _best_run(uri: str, study: StudySummary) -> str:
    best = tracking.best_run(uri, study.run_id)
    if best == study.run_id:
        raise ValueError(f"study {study.study!r} must have a champion or a best trial, got neither (yet): "
                         "give the run_id of a trial")  # fmt: skip
    return best


def _require_trial(run: LoggedRun) -> None:
    """Complain about what is no trial that has ended with numbers to compare."""
    trial = f"run_id must be of a trial that has ended, got {run.run_id}"
    if run.is_deleted:
        raise ValueError(f"{trial}, which was deleted (mlflow runs restore --run-id {run.run_id} brings it back)")
    if run.phase == keys.PHASE_STUDY:
        raise ValueError(f"{trial}, which is the study {run.study} (its best trial: study={run.study})")
    if run.phase == keys.PHASE_REPRODUCTION:
        raise ValueError(f"{trial}, a reproduction (of {run.tags.get(keys.REPRODUCED_RUN)})")
    if run.phase not in _PHASES or not {keys.TRIAL_NUMBER, keys.PARENT_RUN, keys.METRIC} <= run.tags.keys():
        raise ValueError(f"{trial}, which is no trial of this project ({run.name})")
    version = run.tags.get(keys.SCHEMA, "0")
    if not version.isdigit() or int(version) > int(keys.SCHEMA_VERSION):
        raise ValueError(f"run {run.run_id} must have schema version {keys.SCHEMA_VERSION} or older, got {version}: "
                         "a newer version of the project wrote it")  # fmt: skip
    if run.tags.get(keys.STATE) == "failed":
        raise ValueError(f"{trial}, which failed: {run.tags.get(keys.FAILURE, 'for a reason that was not noted')}")
    if run.status not in ("FINISHED", "FAILED") or keys.STATE not in run.tags:
        raise ValueError(f"{trial}, which is {run.status}")


def _config_of(run: LoggedRun) -> tuple[TrialConfig, dict[str, str]]:
    """Rebuild the configuration from parameters alone, and name those that took no part."""
    try:
        config = TrialConfig.from_params(run.params)
    except (ValueError, OverflowError) as error:
        written = f"schema version {run.tags.get(keys.SCHEMA, '0')}, code {_code_of(run).commit[:12]}"
        raise ValueError(f"run {run.run_id} cannot be rebuilt: {error} ({written})") from error
    known = config.to_params()
    return config, {key: value for key, value in run.params.items() if key not in known}


def _code_of(run: LoggedRun) -> CodeVersion:
    commit = run.tags.get(keys.CODE_VERSION, CodeVersion().commit)
    return CodeVersion(commit=commit, dirty={"true": True, "false": False}.get(run.tags.get(keys.DIRTY, "")))
