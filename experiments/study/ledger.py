"""The study as Optuna stores it: which trials were started, how they ended, and the budgets that were asked for.

One coordinator writes it. Each step is one transaction, so that a process killed at any moment leaves either the
state before it or the state after it. Stock Optuna and optuna-dashboard open the same storage.
"""

from __future__ import annotations

import contextlib
import functools
import json
import time
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import optuna
from optuna.distributions import BaseDistribution
from optuna.exceptions import ExperimentalWarning, StorageInternalError
from optuna.storages import RDBStorage
from optuna.storages._rdb import models
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy.exc import DBAPIError, IntegrityError, SQLAlchemyError
from sqlalchemy.orm import Session

from depthcheck.experiments.addresses import shown, without_password
from depthcheck.experiments.lock import Lock
from depthcheck.experiments.planning.design import ConfirmRound, PlannedTrial, Round, SearchRound
from depthcheck.experiments.planning.experiment import SCHEMA_VERSION
from depthcheck.experiments.planning.finalists import Finalist
from depthcheck.experiments.planning.space import Point
from depthcheck.experiments.tracking.reach import BUSY_SECONDS, connection_settings, sqlite_file
from depthcheck.experiments.tracking.store import TrackingError, patiently, reason
from depthcheck.experiments.tracking.store import storage as stored
from depthcheck.pipeline.scores import METRICS

if TYPE_CHECKING:
    from depthcheck.experiments.cluster.worker import Outcome

_STATES = {
    "finished": TrialState.COMPLETE,
    "diverged": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
#: How long to wait, time after time, for another process that makes the tables of a new storage.
_SECONDS_OF_ANOTHER = (0.2, 1, 5)
_P = ParamSpec("_P")
_T = TypeVar("_T")
_Method = Callable[Concatenate["Ledger", _P], _T]


def _stored(action: str) -> Callable[[_Method[_P, _T]], _Method[_P, _T]]:
    """Turn trouble with Optuna's storage into a TrackingError, and wait for a server that went away.

    The method is called again then. It is one transaction, or finds out what of it has been written.
    """

    def decorate(method: _Method[_P, _T]) -> _Method[_P, _T]:
        @functools.wraps(method)
        def patient(self: Ledger, /, *args: _P.args, **kwargs: _P.kwargs) -> _T:
            def attempt() -> _T:
                with stored(f"{action} in Optuna's storage", StorageInternalError), _still_there(self):
                    self.lock.keep()
                    return method(self, *args, **kwargs)

            return patiently(self._storage.url, attempt)

        return patient

    return decorate


@contextlib.contextmanager
def _still_there(ledger: Ledger) -> Iterator[None]:
    """Say it where somebody has deleted the study, in Optuna's dashboard for one; Optuna raises a bare KeyError."""
    try:
        yield
    except KeyError as error:
        if error.args != (models.NOT_FOUND_MSG,):
            raise
        what = f"study {ledger.name!r} was deleted in Optuna's storage"
        raise TrackingError(f"{what}: the next start writes it again from MLflow", lasts=True) from error


class _Storage(RDBStorage):
    """Optuna's storage with one transaction for all that is known of a trial: each waits for the disk."""

    def write(self, trial_id: int, scores: Mapping[int, float], attributes: Mapping[str, Any]) -> None:
        """Write scores that are not there yet, by epoch, and attributes of a trial."""
        kept = models.TrialIntermediateValueModel
        with Session(self.engine) as session, session.begin():
            for epoch, score in scores.items():
                value, kind = kept.intermediate_value_to_stored_repr(score)
                session.add(kept(trial_id=trial_id, step=epoch, intermediate_value=value, intermediate_value_type=kind))
            for key, value in attributes.items():
                self._set_trial_attr_without_commit(session, models.TrialUserAttributeModel, trial_id, key, value)


class Ledger:
    """One study in Optuna's storage.

    Not for two coordinators at once; readers may come and go. Every method raises TrackingError for trouble with the
    storage, and has waited for a server then.

    Attributes
    ----------
    lock
        The study's, which is made sure of before anything is written; until it is given there is none.
    """

    def __init__(self, name: str, storage: _Storage) -> None:
        self._study, self._storage = optuna.load_study(study_name=name, storage=storage), storage
        # Optuna's objects refer to each other, so its connections would stay open long after; whoever then put another
        # file in place of an SQLite one would find the old log beside it.
        weakref.finalize(self, storage.engine.dispose)
        self.lock = Lock(origin="", keep=lambda: None)
        self._adding: FrozenTrial | None = None

    @classmethod
    def open(cls, storage: str, name: str, definition: Mapping[str, Any]) -> Ledger:
        """Open the study of that name in a storage (any URL that Optuna takes), or create it.

        Raises
        ------
        ValueError
            When the storage cannot be opened, or holds a study of that name with another definition, with trials of
            somebody else's, or one that a newer version wrote.
        """
        try:
            connected = _connected(storage)
            optuna.create_study(storage=connected, study_name=name, direction="maximize", load_if_exists=True)
            ledger = cls(name, connected)
        except Exception as error:  # SQLAlchemy, drivers and Optuna each raise their own
            raise _cannot_be_opened(storage, error) from error
        ledger._note_definition(definition)
        ledger._require_readable()
        require_definition(name, ledger.definition, definition)
        # Whoever ends a trial by hand writes no state of ours.
        foreign = [
            trial.number
            for trial in ledger.trials()
            if "point" not in trial.user_attrs or (trial.state.is_finished() and "state" not in trial.user_attrs)
        ]
        if foreign:
            raise ValueError(
                f"study {name!r} must have trials of this project alone, got trial {foreign[0]}, which somebody "
                "else asked for or ended; go on under another name (study=NAME)"
            )
        return ledger

    @_stored("cannot write the definition of the study")
    def _note_definition(self, definition: Mapping[str, Any]) -> None:
        """Write it unless there is one."""
        if "definition" not in self._study.user_attrs:
            self._study.set_user_attr("schema_version", SCHEMA_VERSION)
            self._study.set_user_attr("definition", dict(definition))

    def _require_readable(self) -> None:
        version = self._study.user_attrs.get("schema_version", SCHEMA_VERSION)
        if version != SCHEMA_VERSION:
            age = "a newer" if version > SCHEMA_VERSION else "an older"
            raise ValueError(
                f"study {self.name!r} must have schema version {SCHEMA_VERSION}, "
                f"got {version}: {age} version of the project wrote it"
            )

    @classmethod
    def existing(cls, storage: str, name: str) -> Ledger | None:
        """Open the study of that name as it is, or return None where the storage has none; nothing is created.

        Raises
        ------
        ValueError
            When the storage cannot be opened, or a newer version wrote the study.
        """
        if name not in study_names(storage):
            return None
        ledger = cls(name, _connected(storage))
        ledger._require_readable()
        return ledger

    def require_ours(self) -> None:
        """Raise TakenOverError where another coordinator has the study's lock; a storage that is away is not asked."""
        with contextlib.suppress(SQLAlchemyError):
            self.lock.keep()

    @property
    def name(self) -> str:
        """The study's name."""
        return self._study.study_name

    @property
    @_stored("cannot read the definition of the study")
    def definition(self) -> dict[str, Any]:
        """What defines the study, in JSON's types; empty where nothing was noted, as in a study of somebody else."""
        return dict(self._study.user_attrs.get("definition", {}))

    @property
    @_stored("cannot read how the study's data were understood")
    def resolved(self) -> dict[str, Any]:
        """What the data resolved that the definition leaves open, as the latest session noted it; empty before one has.

        ``data`` and ``split`` as parameters, ``metric``, and ``served``, what the champion must know.
        """
        return dict(self._study.user_attrs.get("resolved", {}))

    @_stored("cannot note how the study's data were understood")
    def note_resolved(self, resolved: Mapping[str, Any]) -> None:
        """Note what the data resolved that the definition leaves open; the score has a name in Optuna's dashboard."""
        self._study.set_user_attr("resolved", dict(resolved))
        metric = str(resolved.get("metric", "accuracy"))
        metric = METRICS[metric].title if metric in METRICS else metric
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            self._study.set_metric_names([f"validation {metric}"])

    @property
    @_stored("cannot read the study's run")
    def parent_run_id(self) -> str | None:
        """The MLflow run that holds the study's trials, or None before there is one."""
        run_id: str | None = self._study.user_attrs.get("parent_run_id")
        return run_id

    @_stored("cannot write the study's run")
    def set_parent_run_id(self, run_id: str) -> None:
        """Remember the MLflow run that holds the study's trials."""
        self._study.set_user_attr("parent_run_id", run_id)

    @property
    @_stored("cannot read at how many settings the study was judged")
    def looks(self) -> tuple[int, ...]:
        """At how many settings the study was judged so far."""
        return tuple(self._study.user_attrs.get("looks", ()))

    @_stored("cannot note at how many settings the study was judged")
    def note_looks(self, looks: Sequence[int]) -> None:
        """Note at how many settings the study was judged so far."""
        self._study.set_user_attr("looks", list(looks))

    @_stored("cannot read the rounds of the study")
    def rounds(self) -> list[Round]:
        """Return the study's rounds so far, in order."""
        return [_round_from_json(stored) for stored in self._study.user_attrs.get("rounds", [])]

    def add_round(self, one: Round) -> None:
        """Add a round; what it lays down is never changed again."""
        self._set_rounds([*self.rounds(), one])

    @_stored("cannot write a round of the study")
    def _set_rounds(self, rounds: Sequence[Round]) -> None:
        self._study.set_user_attr("rounds", [asdict(one) for one in rounds])

    def raise_budget(self, trials: int) -> None:
        """Add a round of searching where ``trials`` asks for more than the rounds there are."""
        if trials > max((one.trials for one in self.rounds() if isinstance(one, SearchRound)), default=0):
            self.add_round(SearchRound(trials=trials))

    @_stored("cannot read the trials of the study")
    def trials(self) -> list[FrozenTrial]:
        """Return all trials in the order of their numbers; not to be changed."""
        return sorted(self._study.get_trials(deepcopy=False), key=lambda trial: trial.number)

    def start(self, planned: PlannedTrial, point: Point, distributions: Mapping[str, BaseDistribution]) -> None:
        """Add the trial as RUNNING, with all of its parameters, in one transaction.

        Raises
        ------
        TrackingError
            When Optuna gives it another number: somebody else wrote into the study.
        """
        trial = optuna.create_trial(
            state=TrialState.RUNNING,
            params={name: point[name] for name in distributions},
            distributions=dict(distributions),
            user_attrs={
                "phase": planned.phase,
                "combination": dict(planned.combination),
                "seed": planned.seed,
                "point": dict(point),
                **({"finalist": planned.finalist} if planned.finalist else {}),
                **({"repeat": planned.repeat} if planned.repeat else {}),
            },
        )
        number = self._add(trial)
        if number != planned.number:
            what = f"trial {planned.number} of study {self.name!r} came as {number}: a second coordinator?"
            raise TrackingError(what, lasts=True)

    @_stored("cannot write the start of a trial")
    def _add(self, trial: FrozenTrial) -> int:
        """Add a trial, unless that was done and its answer was lost; return its number."""
        is_again, self._adding = self._adding is trial, trial
        if is_again and any(last.datetime_start == trial.datetime_start for last in self.trials()[-1:]):
            return self.trials()[-1].number
        # As Study.add_trial, which does not tell the number; to ask for all trials takes longer the more there are.
        storage = self._study._storage
        trial_id = storage.create_new_trial(self._study._study_id, template_trial=trial)
        return int(storage.get_trial_number_from_id(trial_id))

    @_stored("cannot write the end of a trial")
    def tell(self, outcome: Outcome) -> None:
        """Record how a trial ended; the state is written last, so that a kill leaves it RUNNING.

        One that repeats a finalist is pruned to Optuna, so that the best trial and the importances that its dashboard
        shows are those of the search.

        Raises
        ------
        TrackingError
            When somebody else has ended it.
        """
        storage = self._study._storage
        trial_id = storage.get_trial_id_from_study_id_trial_number(self._study._study_id, outcome.number)
        frozen = storage.get_trial(trial_id)
        if frozen.state.is_finished():
            if frozen.user_attrs.get("run_id") != outcome.run_id:
                what = f"trial {outcome.number} of study {self.name!r} was ended in Optuna by somebody else"
                raise TrackingError(what, lasts=True)
            return  # told before, and the answer was lost
        told = {key: getattr(outcome, key) for key in ("run_id", "state", "failure", "engine")}
        attributes = {key: value for key, value in told.items() if value not in (None, "compiled")}
        state = _STATES[outcome.state]
        if frozen.user_attrs["phase"] == "confirm" and state == TrialState.COMPLETE:
            state, attributes["score"] = TrialState.PRUNED, outcome.score
        scores = () if outcome.state == "failed" else outcome.scores
        new = {epoch: score for epoch, score in enumerate(scores, 1) if epoch not in frozen.intermediate_values}
        self._storage.write(trial_id, new, attributes)
        score = outcome.score if state == TrialState.COMPLETE else None
        self._study.tell(outcome.number, score, state)


def require_definition(name: str, before: Mapping[str, Any], asked: Mapping[str, Any]) -> None:
    """Complain where a study that is there is to go on with another definition."""
    asked = json.loads(json.dumps(asked))
    differs = sorted(key for key in {*before, *asked} if before.get(key) != asked.get(key))
    if differs:
        raise ValueError(
            f"study {name!r} must be continued with its own definition, "
            f"got another {', '.join(differs)}; choose another name for a new study"
        )


def study_names(storage: str) -> list[str]:
    """Return the names of the studies in an Optuna storage; an SQLite file that is not there has none and stays so.

    Raises
    ------
    ValueError
        When the storage cannot be opened.
    """
    file = sqlite_file(storage)
    if file is not None and not file.exists():
        return []
    try:
        with _released(storage) as connected:
            return list(optuna.get_all_study_names(connected))
    except Exception as error:  # SQLAlchemy, drivers and Optuna each raise their own
        raise _cannot_be_opened(storage, error) from error


def delete_study(storage: str, name: str) -> None:
    """Delete a study with all its trials."""
    with (
        stored(f"cannot delete study {name} in Optuna's storage", StorageInternalError),
        contextlib.suppress(KeyError),  # another process was faster
        _released(storage) as opened,
    ):
        optuna.delete_study(study_name=name, storage=opened)


def _connected(url: str) -> _Storage:
    """Wait for a locked SQLite file as long as MLflow does; notice connections that a server dropped meanwhile."""
    settings = connection_settings(url, BUSY_SECONDS)
    asked = {"connect_args": settings, "pool_pre_ping": sqlite_file(url) is None}
    for seconds in _SECONDS_OF_ANOTHER:
        try:
            return _Storage(url, engine_kwargs=asked)
        except DBAPIError as error:
            if not (isinstance(error, IntegrityError) or "already exists" in str(error)):
                raise
            time.sleep(seconds)
    return _Storage(url, engine_kwargs=asked)


@contextlib.contextmanager
def _released(url: str) -> Iterator[_Storage]:
    connected = _connected(url)
    try:
        yield connected
    finally:
        connected.engine.dispose()


def _cannot_be_opened(storage: str, error: Exception) -> ValueError:
    why = without_password(reason(error), [storage])
    if isinstance(error, ImportError):
        why += '; for PostgreSQL: pip install "psycopg[binary]" and postgresql+psycopg://… as URL'
    return ValueError(f"storage must be a URL that Optuna can open, got {shown(storage)!r} ({why})")


def _round_from_json(stored: Mapping[str, Any]) -> Round:
    if "trials" in stored:
        return SearchRound(trials=stored["trials"])
    return ConfirmRound(
        finalists=tuple(Finalist.from_json(finalist) for finalist in stored["finalists"]),
        runs=tuple((finalist, index) for finalist, index in stored["runs"]),
    )


def as_known_at(trials: Sequence[FrozenTrial], number: int, window: int) -> list[FrozenTrial]:
    """Return the history that the proposal of trial ``number`` may know: the search's, never phase *confirm*.

    Trials up to ``number - window`` with their values; those after it as RUNNING ones, whether they have ended by
    now or not, so that the proposal does not depend on who was faster.
    """
    return [
        trial
        if trial.number <= number - window
        else optuna.create_trial(state=TrialState.RUNNING, params=trial.params, distributions=trial.distributions)
        for trial in trials[:number]
        if trial.user_attrs.get("phase") != "confirm"
    ]
