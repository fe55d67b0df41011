"""An examination in words. Pure text."""

from __future__ import annotations

from collections.abc import Sequence

from depthcheck.experiments.doctor.examine import Examination
from depthcheck.experiments.doctor.findings import Finding


def lines(examination: Examination, *, fix: bool) -> list[str]:
    """Return what a user reads: what was compared, each disagreement, and what can be done."""
    one = examination
    text = [f"study {one.study}: {one.n_told} trials have ended in Optuna, {one.n_stored} in MLflow"]
    text += _group("repaired", one.repaired)
    repairable = [finding for finding in one.left if finding.repair is not None]
    text += _group("can be repaired", repairable)
    text += _group("cannot be repaired", [finding for finding in one.left if finding.repair is None])
    if one.n_open:
        text.append(f"  {_open(one.n_open)}")
    if one.n_unchecked:
        text.append(f"  {_unchecked(one.n_unchecked)}")
    if not one.left:
        text.append("  clean: everything agrees" + (" now" if one.repaired else ""))
    if repairable and not fix:
        text.append(f"  repair: mlflow run . -e doctor -P study={one.study} -P fix=true")
    return text


def _group(title: str, findings: Sequence[Finding]) -> list[str]:
    if not findings:
        return []
    text = [f"  {title}: {len(findings)}"]
    for finding in findings:
        text += [f"  - {finding.what}", f"      {finding.advice}"]
    return text


def _unchecked(n_models: int) -> str:
    models = "1 model was" if n_models == 1 else f"{n_models} models were"
    return f"{models} logged without hashes: it is not known whether the files are the same"


def _open(n_trials: int) -> str:
    if n_trials == 1:
        return "1 trial was begun and has not ended: the next start of the study trains it"
    return f"{n_trials} trials were begun and have not ended: the next start of the study trains them"
