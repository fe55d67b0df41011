"""What the import contracts cannot tell: what is imported *when*. The contracts themselves run in ``make check``."""

import ast
import graphlib
import importlib
import json
import subprocess
import sys
import textwrap
from pathlib import Path

from benchmarks.structure import imported, sources

HEAVY = ("tensorflow", "keras")


def modules_loaded_by(program: str) -> set[str]:
    program = textwrap.dedent(program) + "\nimport json, sys\nprint(json.dumps(list(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_no_module_of_experiments_or_reports_loads_tensorflow_when_imported():
    loaded = modules_loaded_by("""
        import importlib, pkgutil
        from depthcheck import experiments, reports
        for package in (experiments, reports):
            for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
                if not module.name.endswith("cluster.imported"):  # what workers are forked from: made to load it
                    importlib.import_module(module.name)
    """)

    assert {
        "depthcheck.experiments.cluster.worker",
        "depthcheck.experiments.study.coordinator",
        "depthcheck.experiments.tracking",
        "depthcheck.reports.compare.comparison",
    } <= loaded
    assert loaded.isdisjoint(HEAVY)


def test_loading_cutting_and_preparing_data_needs_no_tensorflow(tmp_path):
    loaded = modules_loaded_by(f"""
        from pathlib import Path
        from depthcheck.pipeline.config import DataConfig, SplitConfig
        from depthcheck.pipeline.data.load import load
        from depthcheck.pipeline.prepare.prepare import prepare
        from depthcheck.pipeline.prepare.split import split
        dataset = load(DataConfig(name="digits"), cache=Path({str(tmp_path)!r}))
        prepare(dataset, split(dataset, SplitConfig()))
    """)

    assert "sklearn" in loaded
    assert loaded.isdisjoint(HEAVY)


def test_what_benchmarks_import_of_the_product_is_there():
    for path in (Path(__file__).parent.parent / "benchmarks").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("depthcheck"):
                module = importlib.import_module(str(node.module))
                for name in node.names:
                    if not hasattr(module, name.name):
                        importlib.import_module(f"{node.module}.{name.name}")


def test_modules_of_the_pipeline_can_be_imported_in_any_order():
    files = {module: path for module, path in sources().items() if module.startswith("depthcheck.pipeline")}
    at_the_top = {
        module: ast.Module([node for node in ast.parse(path.read_text()).body if isinstance(node, ast.stmt)
                            and isinstance(node, ast.Import | ast.ImportFrom)], [])
        for module, path in files.items()
    }  # fmt: skip
    graph = {module: imported(tree, module, set(files)) for module, tree in at_the_top.items()}

    assert set(graphlib.TopologicalSorter(graph).static_order()) == set(files)
