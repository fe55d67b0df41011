"""How sure an answer is after so many minutes: half widths of a study's intervals, had it been stopped then.

``python -m benchmarks.time_to_answer`` reads the latest study of the tracking store (``--study NAME`` another one) and
judges it as it stood after ``--minutes``: by the settings whose trials had ended by then. The minutes are those in
which any of its trials was trained, so that a study that went on later has its pauses left out.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace

import mlflow

from depthcheck.experiments import tracking
from depthcheck.reports.compare.comparison import compare_study
from depthcheck.reports.compare.results import Comparison
from depthcheck.reports.compare.study_data import StudyData
from depthcheck.reports.read import choose_study, read_study


def ends(uri: str, run_ids: Sequence[str]) -> dict[str, float]:
    """Return the minutes of training after which each run had ended."""
    api = mlflow.MlflowClient(uri)
    infos = sorted((api.get_run(run_id).info for run_id in run_ids), key=lambda info: info.start_time)
    ended, trained, until = {}, 0.0, infos[0].start_time
    for info in infos:
        trained += max(0, info.end_time - max(until, info.start_time))
        until = max(until, info.end_time)
        ended[info.run_id] = trained / 60_000
    return ended


def as_of(study: StudyData, ended: dict[str, float], minutes: float) -> Comparison:
    """Return what the study would have said, had it been stopped after so many minutes."""
    return compare_study(replace(study, records=tuple(r for r in study.records if ended[r.run_id] <= minutes)))


def row(comparison: Comparison, minutes: float) -> str:
    """Return the half widths of all contrasts in the reader's unit."""
    scale = comparison.design.metric.scale
    cells = [
        "–"
        if contrast.difference is None or contrast.difference.half_width is None
        else f"{scale * contrast.difference.estimate:+.2f} ± {scale * contrast.difference.half_width:.2f}"
        for question in comparison.questions
        for contrast in question.contrasts
    ]
    n_settings = comparison.search.n_settings if comparison.search else 0
    return f"| {minutes:g} | {n_settings} | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default=None)
    parser.add_argument("--minutes", type=float, nargs="*", default=[5, 15, 30, 60])
    given = parser.parse_args()
    uri = tracking.tracking_uri()
    study = read_study(uri, choose_study(uri, study=given.study, run_id=None))
    ended = ends(uri, [record.run_id for record in study.records])
    last = compare_study(study)
    names = [f"{c.factor} {c.level} − {c.reference}" for question in last.questions for c in question.contrasts]
    print(f"| minutes | settings | {' | '.join(names)} |\n{'|---' * (2 + len(names))}|")
    for minutes in [*given.minutes, max(ended.values())]:
        if minutes <= max(ended.values()):
            print(row(as_of(study, ended, minutes), round(minutes, 1)))


if __name__ == "__main__":
    main()
