"""From the tracking store to the records of a report. Read :func:`read_study` first."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import PurePath
from typing import Any, get_args

from depthcheck.experiments import tracking
from depthcheck.experiments.addresses import shown
from depthcheck.experiments.planning.definition import find, shipped_names, slug
from depthcheck.experiments.planning.definition import read as read_definition
from depthcheck.experiments.planning.experiment import Experiment
from depthcheck.experiments.planning.ranges import Choices, Range, Side, Tuned, can_widen, numbers
from depthcheck.experiments.planning.space import importances
from depthcheck.experiments.study.describe import fixed_in_words, tuned_in_words
from depthcheck.experiments.tracking import keys
from depthcheck.pipeline import verbatim
from depthcheck.pipeline.config import DataConfig, ParamValue, SplitConfig, TrialConfig
from depthcheck.pipeline.data.load import NAMES
from depthcheck.pipeline.dimensions import CONFIGURATION, DIMENSIONS
from depthcheck.pipeline.records import TrialRecord
from depthcheck.pipeline.scores import METRICS, R2, Metric
from depthcheck.pipeline.verbatim import Launcher, in_markdown
from depthcheck.reports.compare.study_data import (
    DataFacts,
    Factor,
    FrozenFinalist,
    Importance,
    ReferenceScores,
    SearchRange,
    StudyData,
    StudyDesign,
    StudyFacts,
    valid_score,
)
from depthcheck.reports.text.words import plural

_ALIKE = {"classification": "each class in its share", "regression": "in each part numbers of every size"}
#: What is said of data beside their name, as parameters of a run and of their configuration.
_SAID_OF_DATA = ("target", "sheet", "query", "weight", "rows")
#: What the command line names of a user's own code, or of a metric.
_OWN = ("model", "metric", "direction")


class NothingToReportError(ValueError):
    """There is no such study, or none at all."""


def choose_study(
    uri: str, *, study: str | None, run_id: str | None, environ: Mapping[str, str] = os.environ
) -> tracking.StoredRun:
    """Return the study that a report is asked of.

    Parameters
    ----------
    study, run_id
        Its name, or its parent run (or any run below it). Without both: the study that the run made by ``mlflow
        run`` belongs to, else the latest.

    Raises
    ------
    NothingToReportError
        When the store has no such study, or none.
    """
    found = tracking.studies(uri) if tracking.is_there(uri) else []
    if not found:
        raise NothingToReportError(tracking.no_study(uri))
    by_run = {one.run_id: one for one in found}
    if run_id is not None:
        try:
            parent = tracking.study_of(uri, run_id)
        except tracking.TrackingError as error:
            if not error.lasts:
                raise
            raise NothingToReportError(f"run must be one of a study, got {run_id!r}: {error}") from error
        if parent is None or parent not in by_run:
            raise NothingToReportError(f"run must be one of a study, got {run_id!r} (in {shown(uri)})")
        if study not in (None, by_run[parent].study):
            raise NothingToReportError(
                f"study or run must be given, or both of one study, got {study!r} and a run of {by_run[parent].study!r}"
            )
        return by_run[parent]
    if study is not None:
        for one in found:
            if one.study == study:
                return one
        known = ", ".join(dict.fromkeys(one.study for one in found[:10]))
        raise NothingToReportError(f"study must be one of {known}, got {study!r} (in {shown(uri)})")
    launched = tracking.launched_run(environ)
    if launched and tracking.find_run(uri, launched) is None:
        raise NothingToReportError(
            f"MLFLOW_RUN_ID must name a run of {shown(uri)}, got {launched}, which is not there: unset it"
        )
    latest = tracking.latest(found)
    return by_run.get(tracking.study_of(uri, launched) or "", latest) if launched else latest


def read_study(uri: str, summary: tracking.StoredRun) -> StudyData:
    """Read a study whole.

    Raises
    ------
    NothingToReportError
        When its run has no design, or one of another version, or its finalists are lost.
    TrackingError
        When the store cannot be read, or its run's design is damaged.
    """
    run_id = summary.run_id
    stored, frozen = tracking.study_design(uri, run_id), tracking.finalists(uri, run_id)
    if not stored:
        raise NothingToReportError(
            f"study {summary.study!r} must have a design.json, got none in its run {run_id}; its next start writes it"
        )
    try:
        experiment = replace(
            Experiment.from_json(summary.study, stored["definition"]),
            question=stored["question"],
            widenings=tuple(stored["widened"]),
            # With the whole path of a file; the definition has its name alone.
            data=DataConfig.from_params(_texts(stored["resolved"]["data"])),
        )
        split = SplitConfig.from_params(_texts(stored["resolved"]["split"]))
        data = _data_facts(stored["data"], experiment.data, split)
        metric = _metric(stored["data"])
    except KeyError as error:
        raise NothingToReportError(
            f"study {summary.study!r} must have a design of this version of the project, got one without {error}"
        ) from error
    records = tuple(tracking.trials(uri, run_id))
    if not frozen and any(record.phase == "confirm" for record in records):
        raise NothingToReportError(
            f"study {summary.study!r} must have its list of finalists, got none in its run {run_id}; "
            f"{verbatim.command(tracking.launcher(), 'doctor', study=summary.study, fix=True)} writes it again"
        )
    confirmed = [r for r in records if r.phase == "confirm" and r.state in ("finished", "diverged")]
    searched = [r for r in records if r.phase == "compare" and r.state == "finished"]
    environment, run = tracking.study_environment(uri, run_id), tracking.read_run(uri, run_id)
    launcher = started_by(run.tags)
    n_searched = Counter(trial["phase"] for trial in stored["plan"] if trial["phase"] != "confirm")
    seeds = tuple(frozen.get("seeds", ()))
    # The list that was frozen has those of all rounds, of which the latest session may have asked for fewer, or more.
    n_seeds = stored.get("seeds", len(seeds) if frozen else experiment.budget.seeds)
    finalists = tuple(_finalist(one) for one in frozen.get("finalists", ()))
    guess = _guess(stored["data"], metric)
    design = StudyDesign(
        name=summary.study,
        factors=tuple(Factor.of(name, tuple(map(str, levels))) for name, levels in experiment.compare.items()),
        metric=metric,
        dummy_score=guess["valid"],
        dummy_train=guess.get("train"),
        dummy_test=guess.get("test"),
        n_classes=stored["data"].get("n_train_classes", sum(n > 0 for n in data.class_counts) or 1),
        equivalence=experiment.budget.equivalence or metric.equivalence,
        n_seeds=n_seeds,
        folds=split.folds,
        has_test=bool(stored["data"].get("n_test")),
        split_method=split.method,
        budgets={**n_searched, **({"confirm": n_seeds * len(finalists)} if finalists and n_seeds else {})},
        is_tuned=experiment.is_tuned,
        looks=tracking.looks(uri, run_id),
        compare_share=experiment.budget.compare,
        cores=int(environment.get("cpus") or 1),
        ranges=search_ranges(experiment),
        widenings=experiment.widenings,
        launcher=launcher,
        earlier_test_openings=tracking.test_openings(uri, data.sha256, before=run_id),
    )
    return StudyData(
        design=design,
        records=records,
        finalists=finalists,
        predictions=tracking.test_predictions(uri, [*searched, *confirmed]),
        diagnostics=tracking.diagnostics(uri, [r.run_id for r in confirmed]),
        facts=StudyFacts(
            question=stored["question"],
            state=summary.state,
            run_id=run_id,
            tracking_uri=shown(uri),
            data=data,
            epochs=experiment.budget.epochs,
            seed=experiment.seed,
            tuned=tuple(tuned_in_words(experiment)),
            fixed=tuple(fixed_in_words(experiment)),
            seeds=seeds,
            finalists_sha256=frozen.get("sha256", ""),
            environment=environment,
            code_version=run.tags.get("code_version", "unknown"),
            dirty=run.tags.get("dirty", "unknown"),
            command=command(
                experiment, run.params, launcher, data.sha256, trials=n_searched.total(), seeds=max(n_seeds, len(seeds))
            ),
            importances=descriptive_importances(records, design),
            references=tuple(
                ReferenceScores(**{name: one[name] for name in ("name", "valid", "test", "seconds")})
                for one in tracking.references(uri, run_id)
            ),
        ),
    )


def _texts(stored: Mapping[str, Any]) -> dict[str, str]:
    """Return stored parameters as MLflow has them."""
    return {name: str(value) for name, value in stored.items()}


def _data_facts(stored: Mapping[str, Any], data: DataConfig, split: SplitConfig) -> DataFacts:
    """Return what the study noted of its data, and how they were cut in words."""
    column = data.group if split.method == "group" else data.time
    named = f" (column {in_markdown(column)})" if column else ""
    how = {
        "random": [],
        "stratified": [f"stratified: {_ALIKE[stored['task']]}"],
        "group": [f"whole groups to one part{named}"],
        "time": [f"the latest to test, those before to validate{named}"],
        "own": ["the validation part is the data's own"],
    }[split.method]
    how += [f"scores weighted by column {in_markdown(data.weight)}"] if data.weight else []
    size = split.valid_size
    share = f"share {size:g}" if isinstance(size, float) else plural(size, "row")
    drawn = [] if split.folds or split.method in ("own", "time") else [f"{share} drawn by seed {split.seed}"]
    return DataFacts(
        **{name: stored[name] for name in ("name", "sha256", "source", "task", "n_samples", "n_train", "n_test")},
        class_names=tuple(stored.get("class_names", ())),
        class_counts=tuple(stored.get("class_counts", ())),
        target=stored["target"] or "",
        target_mean=stored.get("target_mean"),
        target_sd=stored.get("target_sd"),
        n_valid=stored["n_samples"] if split.folds else stored["n_valid"],
        how=", ".join(drawn + how),
        leaks=tuple((name, words, left_out) for name, words, left_out in stored["leaks"])
        if "leaks" in stored
        else None,
    )


def _metric(stored: Mapping[str, Any]) -> Metric:
    """Return the study's metric; of a user's own, a hundredth of the way from guessing to perfect is what matters."""
    metric = METRICS[stored["metric"]]
    if metric.own is None:
        return metric
    guess, perfect = stored["metric_scale"]["guess"], stored["metric_scale"]["perfect"]
    percent = float(f"{(perfect - guess) / 100:.1g}")
    return replace(metric, perfect=perfect, equivalence=percent, finest=percent, tolerance=percent / 10)


def _guess(stored: Mapping[str, Any], metric: Metric) -> Mapping[str, float]:
    """Return what a network that learned nothing scores on the validation part, and on others where that is noted.

    A study notes it before its first trial, unless it is AUC, which is the same everywhere. Where an R² of the training
    part's mean fits a part but for chance, it is 0 there.
    """
    if "metric_scale" in stored:
        return {"valid": stored["metric_scale"]["guess"], **stored["metric_scale"]}
    noted = {"valid": metric.dummy, **stored.get("guess", {})}
    if metric is R2:  # of its own numbers a mean explains nothing
        return {"train": 0.0, **{part: guess if guess < -metric.equivalence else 0.0 for part, guess in noted.items()}}
    return noted


def _finalist(stored: Mapping[str, Any]) -> FrozenFinalist:
    return FrozenFinalist(
        id=stored["id"],
        config=TrialConfig.from_params(stored["params"]),
        selected_score=stored["selected_score"],
        stands_for=tuple((str(factor), str(level)) for factor, level in stored["stands_for"]),
        origin=stored["origin"],
    )


def search_ranges(experiment: Experiment) -> tuple[SearchRange, ...]:
    """Return the ranges and lists of numbers; those of one optimizer replace, for that optimizer, those of all."""
    own = experiment.tune_for
    found = []
    for name, tuned in experiment.tune.items():
        replaced = [optimizer for optimizer, ranges in own.items() if name in ranges]
        optimizers = [str(level) for level in experiment.levels("optimizer")] if replaced else [None]
        found += [_range(name, tuned, optimizer) for optimizer in optimizers if optimizer not in replaced]
    for optimizer, ranges in own.items():
        found += [_range(name, tuned, optimizer) for name, tuned in ranges.items()]
    return tuple(searched for searched in found if searched is not None)


def _range(name: str, tuned: Tuned, optimizer: str | None) -> SearchRange | None:
    values = numbers(tuned)
    if len(values) < 2:
        return None  # words have no ends, and a single number has nothing between them
    return SearchRange(
        parameter=name,
        low=values[0],
        high=values[-1],
        log=isinstance(tuned, Range) and tuned.log,
        when=None if optimizer is None else ("optimizer", optimizer),
        is_list=isinstance(tuned, Choices),
        open_sides=tuple(side for side in get_args(Side) if can_widen(tuned, DIMENSIONS[name], side)),
    )


def started_by(tags: Mapping[str, str]) -> Launcher:
    """Return what started a study, by the tags of its run: ``mlflow run`` writes another source than we do."""
    ours: tuple[Launcher, ...] = ("depthcheck", "python")
    return next((launcher for launcher in ours if tags.get(keys.SOURCE_NAME) == launcher), "mlflow run")


def command(
    experiment: Experiment, params: Mapping[str, str], launcher: Launcher, sha256: str, *, trials: int, seeds: int
) -> str:
    """Return the line that runs the study again: as its run's ``params`` have it, else pieced together.

    MLflow keeps the parameters of its first session: of trials and seeds there may be more since. A name that does not
    end as the one that these data (``sha256``) derive is the user's own.
    """
    given = {name: value for name, value in params.items() if value not in ("", "auto")}
    if CONFIGURATION in experiment.compare:  # configurations that the user chose, without a search
        runs = given.get(keys.RUNS, "<run ids with commas between>")
        return verbatim.command(launcher, "compare", runs=runs, seeds=seeds, seed=experiment.seed or None)
    is_derived = experiment.name.endswith(experiment.study_name(sha256)[-9:])
    if "experiment" not in given and "data" not in given:
        found = _data_or_experiment(experiment, experiment.name[:-9] if is_derived else None)
        given = {**found, "seed": str(experiment.seed)}
        given |= {} if experiment.says_epochs else {"epochs": str(experiment.budget.epochs)}
    given |= {"trials": str(trials), "seeds": str(seeds)}
    if not is_derived:
        given["study"] = experiment.name
    if experiment.widenings:
        given["widen"] = ",".join(experiment.widenings)
    asked = ("experiment", "data", *_SAID_OF_DATA, *_OWN, "trials", "epochs", "seeds", "seed", "data_folder")
    noted = {name: given[name] for name in (*asked, "study", "widen") if name in given}
    return verbatim.command(launcher, "run", **noted)


def _data_or_experiment(experiment: Experiment, name: str | None) -> dict[str, str]:
    """Return what was named: a definition of the user's own, or data and a shipped definition.

    A study whose ``name`` is derived is called as its data are where they were named, else as the file of its
    definition.
    """
    data, own, of_data = experiment.data, experiment.data.own_metric, slug(PurePath(experiment.data.name).stem)
    may_be = shipped_names() if name in (None, of_data, *shipped_names()) else []
    shipped = next((one for one in may_be if _is_that(one, experiment)), None)
    named: dict[str, str | int | None]
    if shipped is None:
        named = {"experiment": f"{name or 'your-definition'}.toml", "rows": data.rows}
    else:
        named = {
            "experiment": None if shipped == "any" else shipped,
            "data": None if data.name in NAMES and shipped == (name or of_data) != "any" else data.name,
            **{word: getattr(data, word) for word in _SAID_OF_DATA},
            "model": experiment.model.name if experiment.model else None,
            "metric": own.name if own else data.metric,
            "direction": own.direction if own else None,
        }
    return {name: str(value) for name, value in named.items() if value}


def _is_that(shipped: str, experiment: Experiment) -> bool:
    """Tell whether the study is of a shipped definition, but for what the command line says."""
    try:
        of = read_definition(find(shipped), data=experiment.data, model=experiment.model)
        of = of.with_overrides(epochs=experiment.budget.epochs, seed=experiment.seed)
        of = of.widened_as(",".join(experiment.widenings))
    except ValueError:  # not each of them takes a model of the user's own, or tunes what was widened
        return False
    return (of.question, of.as_json()) == (experiment.question, experiment.as_json())


def descriptive_importances(records: Sequence[TrialRecord], design: StudyDesign) -> tuple[Importance, ...]:
    """Return importances over the trials of *compare* with hidden layers, if any, so that every dimension is active.

    A learning rate counts by its place in its optimizer's own range: 0.01 is large for one and small for another.
    """
    trials = [r for r in records if r.phase == "compare" and r.state != "failed"]
    hidden = [r for r in trials if r.config.model.depth]
    trials = hidden or trials
    points = [_point(record.config, design.ranges) for record in trials]
    scores = [valid_score(record, design) for record in trials]
    found = importances(points, scores, log=[one.name for one in DIMENSIONS.values() if one.log])
    return tuple(
        Importance(
            method=method,
            n_trials=len(trials),
            # Optuna adds up in another order in each process: the last digit is not to tell which comes first.
            shares=tuple(
                sorted(((name, round(float(of), 6)) for name, of in shares.items()), key=lambda one: (-one[1], one[0]))
            ),
            has_hidden=bool(hidden),
        )
        for method, shares in found.items()
    )


def _point(config: TrialConfig, ranges: Sequence[SearchRange]) -> dict[str, ParamValue]:
    """Return the values by dimension; layers of unequal width have no number of units."""
    values = config.values()
    point = {name: value for name, value in values.items() if name != "units" or not isinstance(value, str)}
    for searched in ranges:
        name = searched.parameter
        if name in point and DIMENSIONS[name].per_optimizer and searched.applies_to(config) and not searched.is_list:
            point[name] = searched.place(float(values[name]))
    return point
