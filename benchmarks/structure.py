"""The size and shape of the product's code: ``python -m benchmarks.structure``, before and after a change.

Counts files, lines, files with exactly one importer, record types (dataclasses, named tuples, pydantic models), file
and class names that occur more than once, and the longest function. Tests and benchmarks are no product.
"""

from __future__ import annotations

import ast
from collections import Counter, defaultdict
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("pipeline", "experiments", "reports")


def sources() -> dict[str, Path]:
    """Return every file of the product by its module's name."""
    own = [path for path in (ROOT / "depthcheck").rglob("*.py") if not any(p.is_symlink() for p in path.parents)]
    files = [*own, *(path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py"))]
    found = {}
    for path in sorted(files):
        parts = path.relative_to(ROOT).with_suffix("").parts
        parts = parts if parts[0] == "depthcheck" else ("depthcheck", *parts)
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imported(tree: ast.Module, module: str, known: set[str]) -> set[str]:
    """Return the modules of the product that a file imports."""
    found = set()
    package = module.split(".")[:-1]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
            names = [f"{base}.{alias.name}" if f"{base}.{alias.name}" in known else base for alias in node.names]
        else:
            continue
        found |= {name for name in names if name in known}
    return found - {module}


def is_record(node: ast.ClassDef) -> bool:
    """Tell whether a class is there to hold values."""
    named = {ast.unparse(one).partition("(")[0].rpartition(".")[2] for one in (*node.decorator_list, *node.bases)}
    return bool(named & {"dataclass", "NamedTuple", "TypedDict", "BaseModel", "define", "frozen"})


def main() -> None:
    """Print the table."""
    files = sources()
    trees = {module: ast.parse(path.read_text(encoding="utf-8")) for module, path in files.items()}
    importers: dict[str, set[str]] = defaultdict(set)
    for module, tree in trees.items():
        for name in imported(tree, module, set(files)):
            importers[name].add(module)
    classes = [node for tree in trees.values() for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]
    functions = [
        ((node.end_lineno or node.lineno) - node.lineno + 1, f"{module}.{node.name}")
        for module, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    ]
    names = Counter(path.name for path in files.values() if path.name not in ("__init__.py", "__main__.py"))
    twice = sorted(name for name, n in names.items() if n > 1)
    class_names = sorted(name for name, n in Counter(node.name for node in classes).items() if n > 1)
    once = sum(len(importers[module]) == 1 for module, path in files.items() if path.name != "__init__.py")
    length, longest = max(functions)
    rows = {
        "files": len(files),
        "lines": sum(len(path.read_text(encoding="utf-8").splitlines()) for path in files.values()),
        "files with one importer": once,
        "record types": sum(map(is_record, classes)),
        "file names that occur twice": f"{len(twice)}: {', '.join(twice)}" if twice else 0,
        "class names that occur twice": f"{len(class_names)}: {', '.join(class_names)}" if class_names else 0,
        "longest function": f"{length} lines: {longest}",
    }
    print("\n".join(f"| {name} | {value} |" for name, value in rows.items()))


if __name__ == "__main__":
    main()
