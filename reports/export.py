"""Every trial as one row of a table, for those who go on in pandas."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from depthcheck.pipeline.records import TrialRecord

_FIRST = ("number", "phase", "state", "finalist", "run_id")
_LAST = (
    "valid_score",
    "valid_loss",
    "test_score",
    "test_loss",
    "train_score",
    "train_loss",
    "metric",
    "epochs_trained",
    "n_params",
    "fit_seconds",
    "failure",
)


def trials_table(records: Sequence[TrialRecord]) -> pd.DataFrame:
    """Return one row a trial, of all phases, by number.

    Returns
    -------
    DataFrame
        ``number, phase, state, finalist, run_id``, the parameters under their logged names, then scores and costs.
        ``train_…`` are of the last epoch. What a trial does not have is missing. ``units`` is text: layers of unequal
        width are joined by commas.
    """
    rows = [_row(record) for record in sorted(records, key=lambda record: record.number)]
    params = sorted({name for record in records for name in record.config.to_params()})
    table = pd.DataFrame(rows, columns=[*_FIRST, *params, *_LAST])
    whole = ("number", "n_params", "depth", "batch_size", "epochs", "epochs_trained", "seed", "split_seed")
    for name in set(whole) & set(table):
        table[name] = table[name].astype("Int64")
    return table


def _row(record: TrialRecord) -> dict[str, object]:
    params: dict[str, object] = dict(record.config.to_params())
    if "units" in params:
        params["units"] = str(params["units"])
    row: dict[str, object] = {
        **params,
        "number": record.number,
        "phase": record.phase,
        "state": record.state,
        "finalist": record.tags.get("finalist"),
        "run_id": record.run_id,
        "epochs_trained": record.history.n_epochs,
        "n_params": record.n_params,
        "fit_seconds": record.fit_seconds,
        "failure": record.failure,
        "metric": record.history.metric,
    }
    for part in ("valid", "test"):
        evaluation = record.evaluation(part)
        if evaluation is not None:
            row |= {f"{part}_score": evaluation.score, f"{part}_loss": evaluation.loss}
    if record.history.n_epochs:
        score, loss = record.history.train_score[-1], record.history.train_loss[-1]
        row |= {"train_score": score, "train_loss": loss if math.isfinite(loss) else math.inf}
    return row


def write_tables(table: pd.DataFrame, folder: Path) -> None:
    """Write ``comparison.csv`` and ``comparison.parquet`` into a folder."""
    table.to_csv(folder / "comparison.csv", index=False)
    table.to_parquet(folder / "comparison.parquet", index=False)
