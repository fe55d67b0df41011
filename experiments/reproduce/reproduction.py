"""One reproduction from its request to its verdict: read, check, train, compare, write down."""

from __future__ import annotations

import contextlib
import queue
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from distributed import Client, Future, KilledWorker
from rich.console import Console

from depthcheck.experiments import places, tracking
from depthcheck.experiments.addresses import may_be_shown, whole
from depthcheck.experiments.cluster import launch
from depthcheck.experiments.cluster.travel import require_same
from depthcheck.experiments.reproduce import deviations as words
from depthcheck.experiments.reproduce.deviations import Change, Deviation, ReproductionFinding, compare, differences
from depthcheck.experiments.reproduce.original import REPRODUCTION_TOPIC, Original, find, train_again
from depthcheck.experiments.study.progress import LiveBar, duration
from depthcheck.experiments.tracking import Curves, ReproductionRun, keys
from depthcheck.experiments.tracking.store import require_at_hand
from depthcheck.pipeline.data.load import load
from depthcheck.pipeline.records import Dataset

#: About so many lines where there is no terminal.
_MOST_LINES = 20


class ReproductionProgress(LiveBar):
    """Counts epochs of all repetitions, and tells of the first number that differs as soon as it is there."""

    def __init__(self, console: Console, *, times: int, epochs: int) -> None:
        super().__init__(console, "training again", total=times * epochs, transient=True)
        self._total = times * epochs
        self._every = -(-self._total // _MOST_LINES)
        self._epochs_of: dict[int, int] = {}
        self._first: Deviation | None = None
        self._started = time.monotonic()

    def __enter__(self) -> Self:
        if not self.is_shown:
            self.console.print("training again")
        return super().__enter__()

    def epoch(self, number: int, epoch: int, first: Deviation | None) -> None:
        """Note an epoch of a repetition, and the earliest deviation in it, if there is one."""
        if not self._epochs_of:
            self._started = time.monotonic()  # TensorFlow's start and the compiler's work are behind
        self._epochs_of[number] = max(epoch, self._epochs_of.get(number, 0))
        if first is not None and self._first is None:
            self._first = first
            self.console.print(f"  epoch {first.epoch} is the first that differs: {first.curve}")
        done = sum(self._epochs_of.values())
        so_far = "every number the same so far" if self._first is None else "not the same"
        status = f"{done}/{self._total} epochs, {so_far}, left {self._left(done)}"
        self.show(done, status)
        if not self.is_shown and done % self._every == 0:
            self.console.print(f"  {status}")

    def _left(self, done: int) -> str:
        measured = done - len(self._epochs_of)
        if measured <= 0:
            return "?"
        return duration((time.monotonic() - self._started) / measured * (self._total - done))


@dataclass(frozen=True, slots=True, kw_only=True)
class ReproductionEnding:
    """What came out, and where it is."""

    finding: ReproductionFinding
    tracking_uri: str
    run_id: str
    experiment_id: str


def reproduce(
    uri: str,
    console: Console,
    *,
    run_id: str | None = None,
    study: str | None = None,
    times: int = 1,
    data_folder: Path | None = None,
    draw: Callable[[Mapping[str, Any]], str],
) -> ReproductionEnding:
    """Train a logged trial again, so many times, and compare: a run's, or the best of a study, or of the latest.

    Parameters
    ----------
    draw
        Returns the curves of a reproduction, as it is written down, as an SVG.

    Raises
    ------
    ValueError
        When there is no such trial, or its data are not here: nothing was trained or written.
    RuntimeError
        When the training failed.
    KeyboardInterrupt
        When the user stops it: no run is left RUNNING.
    """
    whole(times, "times")
    original = find(uri, run_id=run_id, study=study)
    dataset = _dataset(original, data_folder, console)
    environment = tracking.environment()
    found = differences(original.code, original.environments, tracking.code_version(), environment)
    notes = _notes(original)
    tracking.close_stale_reproductions(uri)
    console.print(_announcement(original, found, notes, times))
    with launch.embedded(min(times, launch.n_cores()), places.program_cache()) as client:
        run = tracking.start_reproduction(
            uri, original.run, params=original.config.to_params(), description="Training again."
        )
        with _ends_well(client, run):
            run.log_dataset(dataset)
            repetitions = _train(original, client, run, console, times=times, data_folder=data_folder)
            finding = ReproductionFinding(
                original=original,
                differences=found,
                notes=notes,
                repetitions=repetitions,
                comparisons=[compare(original.points, one) for one in repetitions],
            )
            _write(finding, run, environment, console, draw)
    return ReproductionEnding(finding=finding, tracking_uri=uri, run_id=run.run_id, experiment_id=run.experiment_id)


def _dataset(original: Original, folder: Path | None, console: Console) -> Dataset:
    """Return the trial's data, and refuse any other: to train on them would prove nothing."""
    config = original.config
    dataset = load(config.data, folder=folder, cache=places.data_cache(), log=console.print)
    advice = "name the folder that has them (data_folder=FOLDER)"
    require_same(dataset, config.data_sha256, f"run {original.run.run_id}", advice)
    return dataset


def _notes(original: Original) -> list[str]:
    """Return what should be known beside the differences."""
    notes = []
    if len(original.environments) > 1:
        notes.append(f"the study's sessions ran on {len(original.environments)} machines or sets of packages; "
                     "the trial may be of any of them")  # fmt: skip
    if original.unknown_params:
        listed = ", ".join(f"{key} {value}" for key, value in original.unknown_params.items())
        notes.append(f"parameters that this version does not know were left out: {listed}")
    if original.model_is_gone:
        notes.append("the trial's saved model is gone; it is not needed")
    return notes


def _announcement(original: Original, found: list[Change], notes: list[str], times: int) -> str:
    run, config = original.run, original.config
    n_epochs = original.n_epochs
    ended = "" if original.state == "finished" else f", {original.state}"
    lines = [
        f"reproducing {run.name} of study {run.study} (phase {run.phase}{ended})",
        f"  run           {run.run_id}",
        f"  data          {config.data.name}, SHA-256 as logged ({config.data_sha256[:16]}…)",
        f"  trains        {n_epochs} epoch{'s' * (n_epochs != 1)}" + (f", {times} times" if times > 1 else ""),
    ]
    differing = words.difference_lines(found, notes)
    lines += [f"  {'not as it was' if at == 0 else '':<13} {line}" for at, line in enumerate(differing)]
    return "\n".join(lines)


def _train(
    original: Original, client: Client, run: ReproductionRun, console: Console, *, times: int, data_folder: Path | None
) -> list[Curves]:
    """Train all repetitions; the first one's numbers are logged while they come."""
    arrived: queue.Queue[dict[str, Any]] = queue.Queue()
    client.subscribe_topic(REPRODUCTION_TOPIC, lambda event: arrived.put(event[1]))
    folder = None if data_folder is None else str(data_folder)
    progress = ReproductionProgress(console, times=times, epochs=original.n_epochs)
    futures = [
        client.submit(
            train_again,
            original.config,
            number=number,
            n_epochs=original.n_epochs,
            confirm=original.is_confirm,
            score=original.is_scored,
            data_folder=folder,
            pure=False,
        )
        for number in range(times)
    ]
    with progress:
        while not all(future.done() for future in futures) or not arrived.empty():
            with contextlib.suppress(queue.Empty):
                event = arrived.get(timeout=0.2)
                now = {key: {event["epoch"]: value} for key, value in event["metrics"].items()}
                epoch = event["epoch"]
                before = {key: {epoch: curve[epoch]} for key, curve in original.points.items() if epoch in curve}
                progress.epoch(event["number"], event["epoch"], compare(before, now).first)
                if event["number"] == 0:
                    run.log_points(now)
                    run.log_original(before)
    repetitions = [_result(future) for future in futures]
    run.log_points(repetitions[0])
    run.log_original(original.points)
    return repetitions


def _result(future: Future) -> Curves:
    try:
        points: Curves = future.result()
    except KilledWorker as error:
        raise RuntimeError("the worker died each time it trained the trial again (out of memory?)") from error
    return points


@contextlib.contextmanager
def _ends_well(client: Client, run: ReproductionRun) -> Iterator[None]:
    """Leave no worker and no open run behind, however the training inside ends."""
    try:
        yield
    except KeyboardInterrupt:
        launch.kill_workers(client)
        with contextlib.suppress(tracking.TrackingError):  # a store that is away is not waited for
            require_at_hand(run.tracking_uri)
            run.end("KILLED", state="interrupted", description="Interrupted before there was a result.")
        raise
    except Exception as error:
        with contextlib.suppress(tracking.TrackingError):
            run.end("FAILED", state="failed", description=f"**No result:** {error}")
        raise
    finally:
        launch.kill_workers(client)


def _write(
    finding: ReproductionFinding,
    run: ReproductionRun,
    environment: Mapping[str, Any],
    console: Console,
    draw: Callable[[Mapping[str, Any]], str],
) -> None:
    """Write the result down; the verdict goes last, and does not depend on whether artifacts can be written."""
    content = words.as_json(finding, environment)
    picture = None
    try:
        run.log_artifact(keys.REPRODUCTION_JSON, content)
        run.log_artifact(keys.OVERLAY, draw(content))
        picture = tracking.artifact_link(run.tracking_uri, run.run_id, keys.OVERLAY, folder="")
    except tracking.TrackingError as error:
        console.print(f"warning: {may_be_shown(error)}")
    run.end(
        "FINISHED" if finding.is_reproduced else "FAILED",
        state="reproduced" if finding.is_reproduced else "not reproduced",
        description=words.markdown(finding, picture),
        verdict=finding.verdict,
    )
