"""Random definitions over the whole registry of dimensions, for a test and for ``engines.py``; of Hypothesis."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from depthcheck.pipeline.config import CLIPS, OPTIMIZERS
from depthcheck.pipeline.dimensions import DIMENSIONS, Dimension

#: What draws the values of a dimension.
ValuesOf = Callable[[Dimension], st.SearchStrategy[Any]]
#: A plan of networks of a thousand layers says no more than one of four.
_MOST = {"depth": 4}


def values_of(dimension: Dimension) -> st.SearchStrategy[Any]:
    """Return all values that the dimension allows."""
    if dimension.kind == "choice":
        return st.sampled_from(dimension.choices)
    if dimension.kind == "bool":
        return st.booleans()
    if dimension.kind == "int":
        most = min(dimension.high, dimension.most or 10**6, _MOST.get(dimension.name, 10**9))
        return st.integers(int(max(dimension.low, -(10**6))), int(most))
    # Lion takes no beta_1 of 0.
    ends = {"exclude_min": dimension.open_low or dimension.name == "beta_1", "exclude_max": dimension.open_high}
    return st.floats(max(dimension.low, -1e6), min(dimension.high, 1e6), allow_subnormal=False, **ends)


@st.composite
def _tuned(draw: st.DrawFn, dimension: Dimension, few: st.SearchStrategy[list[Any]]) -> Any:
    """Return a list, or a range with or without a logarithmic scale."""
    choices = draw(few)
    low, high = min(choices, key=lambda value: (str(type(value)), value)), max(choices)
    if dimension.kind not in ("int", "float") or low == high or draw(st.booleans()):
        return choices
    return {"low": low, "high": high, **({"log": True} if low > 0 and draw(st.booleans()) else {})}


@st.composite
def documents(draw: st.DrawFn, values: ValuesOf = values_of) -> dict[str, Any]:
    """Return a definition in which each dimension is compared, tuned for all or for one optimizer, fixed, or left."""
    tables: dict[str, dict[str, Any]] = {"compare": {}, "tune": {}, "fixed": {}}
    optimizers = draw(st.lists(st.sampled_from(list(OPTIMIZERS)), min_size=1, max_size=2, unique=True))
    n_compared, clips, deepest = 0, ("gradient_clip", *CLIPS), 1
    clip = draw(st.sampled_from(clips))
    for dimension in DIMENSIONS.values():
        if dimension.name in clips and dimension.name != clip:  # gradients are clipped in one way
            continue
        name, few = dimension.name, st.lists(values(dimension), min_size=1, max_size=3, unique=True)
        takers = [one for one in optimizers if dimension.is_active(one, deepest)]
        roles = ["tune", "fixed", *([] if dimension.is_required else ["left"] * 2)]
        roles += ["own"] if dimension.per_optimizer else []
        roles += ["compare"] if len(takers) == len(optimizers) and n_compared < 3 else []
        role = draw(st.sampled_from(roles)) if takers else "left"
        n_compared += role == "compare"
        if name == "optimizer":
            tables |= {role: tables[role] | {name: optimizers[0] if role == "fixed" else optimizers}}
            optimizers = optimizers[:1] if role == "fixed" else optimizers
        elif role == "compare":
            tables[role][name] = draw(few)
        elif role == "fixed":
            tables[role][name] = draw(values(dimension))
        elif role == "tune":
            tables[role][name] = draw(_tuned(dimension, few))
        elif role == "own":
            for optimizer in takers:
                tables["tune"].setdefault(optimizer, {})[name] = draw(_tuned(dimension, few))
        if name == "depth":  # without a hidden layer there is nothing to compare of one
            of = tables[role][name]
            deepest = of["high"] if isinstance(of, dict) else max(of) if isinstance(of, list) else of
    # Levels that are one and the same network are refused.
    families = next((table["family"] for table in tables.values() if "family" in table), "mlp")
    idle = {"width_shape": deepest < 2, "nesterov": optimizers == ["sgd"], "residual": families in ("conv", ["conv"])}
    for name, is_idle in idle.items():
        if is_idle:
            tables["compare"].pop(name, None)
    return {"data": {"name": "digits"}, "budget": {"trials": 1, "epochs": 2}, **tables}
