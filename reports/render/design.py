"""Section 3: what was laid down, and what it ran on. Pure text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from reports.context import PhaseCount, ReportContext
from reports.records import Comparison
from reports.render.blocks import bullets, prose
from reports.words import count, plural, region, table

_PACKAGES = ("tensorflow", "keras", "numpy", "scikit-learn", "optuna", "mlflow")


def design(comparison: Comparison, context: ReportContext) -> list[str]:
    """Return the design as a list, the phases as a table, and what failed."""
    phases = [_phase_row(of) for of in context.phases]
    return [
        bullets(f"**{name}**: {text}" for name, text in _rows(comparison, context) if text),
        "Trials by phase, and what became of those that have ended:",
        table(["phase", "planned", "finished", "diverged", "pruned", "failed"], phases, right=range(1, 6)),
        _failures(context),
        prose(
            "*Anchor* is one known network. *Compare* gives every combination of levels the same number of trials, "
            "laid "
            "down beforehand; the tables below rest on it alone. *Exploit* is an adaptive search and enters no table. "
            "*Confirm* trains the finalists again on fresh seeds; every number of the answer comes from it."
        ),
    ]


def _rows(comparison: Comparison, context: ReportContext) -> Iterator[tuple[str, str]]:
    facts, of = context.facts, comparison.design
    data, definition = facts.data, context.facts.definition
    yield "data", f"{data.name}{f' ({data.source})' if data.source else ''}"
    yield "SHA-256 of the data", data.sha256
    sizes = ((data.n_train, "to train"), (data.n_valid, "to validate"), (data.n_test, "to test"))
    yield "split", ", ".join(f"{count(n)} {what}" for n, what in sizes if n is not None) + _cut(definition)
    yield "compared", "; ".join(f"{f.name}: {', '.join(f.levels)} (reference {f.reference})" for f in of.factors)
    yield "tuned", "; ".join(_tuned(definition))
    yield "fixed", "; ".join(f"{name} {_short(value)}" for name, value in definition.get("fixed", {}).items())
    yield "epochs", f"{definition.get('epochs', '?')} in every trial; the last one counts"
    yield "seed of the study", str(definition.get("seed", ""))
    yield "fresh seeds", ", ".join(map(str, facts.seeds))
    yield "SHA-256 of the finalists", facts.finalists_sha256
    seeds = plural(of.min_seeds, "paired seed")
    yield "practically equal", f"within {region(of.metric, of.equivalence)} either way; a verdict asks for {seeds}"
    yield "score of chance", f"{of.metric.scale * of.chance:.1f} % ({of.metric.name} of the commonest class)"
    yield "versions", _versions(facts.environment)
    yield "machine", _machine(facts.environment)


def _cut(definition: Mapping[str, Any]) -> str:
    cut = definition.get("split")
    return f" (share {cut['valid']:g} drawn by seed {cut['seed']})" if cut else ""


def _tuned(definition: Mapping[str, Any]) -> Iterator[str]:
    for name, tuned in definition.get("tune", {}).items():
        yield f"{name} {_range(tuned)}"
    for optimizer, ranges in definition.get("tune_for", {}).items():
        for name, tuned in ranges.items():
            yield f"{name} of {optimizer} {_range(tuned)}"


def _range(tuned: Any) -> str:
    if not isinstance(tuned, Mapping):
        return "one of " + ", ".join(_short(value) for value in tuned)
    step = f" in steps of {_short(tuned['step'])}" if "step" in tuned else ""
    return f"{_short(tuned['low'])} to {_short(tuned['high'])}{' (log)' if tuned.get('log') else ''}{step}"


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _versions(environment: Mapping[str, Any]) -> str:
    packages = environment.get("packages", {})
    known = {name.lower(): version for name, version in packages.items()}
    words = [f"Python {environment['python']}"] if "python" in environment else []
    return ", ".join([*words, *(f"{name} {known[name]}" for name in _PACKAGES if name in known)])


def _machine(environment: Mapping[str, Any]) -> str:
    words = [str(environment[key]) for key in ("cpu", "platform") if environment.get(key)]
    cores = [f"{environment['cpus']} cores"] if environment.get("cpus") else []
    return ", ".join([*words[:1], *cores, *words[1:]])


def _phase_row(of: PhaseCount) -> list[str]:
    return [of.phase, *(count(n) for n in (of.planned, of.finished, of.diverged, of.pruned, of.failed))]


def _failures(context: ReportContext) -> str:
    if not context.failures:
        return ""
    shown = "; ".join(f"{plural(n, 'trial')}: {reason}" for reason, n in context.failures[:3])
    more = f"; and {plural(len(context.failures) - 3, 'other reason')}" if len(context.failures) > 3 else ""
    return prose(f"Reasons of the failed trials: {shown}{more}.")
