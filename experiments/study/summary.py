"""The last lines that a session prints: the best configuration, where the results are, what to do next."""

from __future__ import annotations

from collections import Counter

from depthcheck.experiments.addresses import shown
from depthcheck.experiments.study.describe import best_of, in_words
from depthcheck.experiments.study.progress import duration
from depthcheck.experiments.study.session import StudyEnding


def text(ending: StudyEnding, *, seconds: float) -> str:
    """Return the end of a session in words."""
    states = Counter(trial.state for trial in ending.trials)
    lines = [
        "",
        f"study {ending.study} has ended: {len(ending.trials)} of {ending.n_planned} trials "
        f"({', '.join(f'{n} {state}' for state, n in sorted(states.items()))}) after {duration(seconds)}",
    ]
    best = best_of(ending.trials)
    if best is not None:
        lines += [
            f"  best trial    {best.number}: validation {ending.metric} {best.score:.4f}",
            f"                {in_words(best.point)}",
        ]
    if ending.champion is not None:
        lines.append(f"  champion      {ending.champion} (best mean validation score over fresh seeds)")
    lines += [
        f"  browse        mlflow ui --backend-store-uri {shown(ending.tracking_uri)}",
        f"                http://127.0.0.1:5000/#/experiments/{ending.experiment_id}/runs/{ending.parent_run_id}",
        f"  study         optuna-dashboard {shown(ending.storage)}",
        "  more          the same command with more trials or more seeds extends this study",
    ]
    return "\n".join(lines)
