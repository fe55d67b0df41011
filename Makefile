TRIALS ?= 50
ARGS ?=
BENCH ?= performance

# The first Python on PATH that will do; make run PYTHON=/path/to/python3.11 names another.
SUITS := import sys, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(firstword $(foreach python,python3 python3.11 python3.12 python3.13, \
	$(shell $(python) -c '$(SUITS)' >/dev/null 2>&1 && echo $(python))) python3)
define CHECK_PYTHON
import sys
remedy = "; name another one: make run PYTHON=/path/to/python3.11"
have = "%s is Python %d.%d" % ((sys.executable,) + tuple(sys.version_info[:2]))
if not (3, 11) <= sys.version_info[:2] < (3, 14):
    sys.exit("Depthcheck needs Python 3.11, 3.12 or 3.13, but " + have + remedy)
try:
    import ensurepip, venv
except ImportError:
    sys.exit(have + " without its venv module (Debian, Ubuntu: apt-get install python3-venv)" + remedy)
endef
export CHECK_PYTHON

export PATH := $(CURDIR)/.venv/bin:$(PATH)
export MLFLOW_DISABLE_TELEMETRY := true
# Without bytecode every worker would take twice as long to start.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help run report ui test check docs bench lock clean

help:  ## what there is
	@sed -n 's/^\([a-z]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST)

run: .venv/installed  ## the main job: make run TRIALS=50 ARGS="-P epochs=5"
	.venv/bin/python -m mlflow run . --env-manager local --experiment-name depthcheck -P trials=$(TRIALS) $(ARGS)

report: .venv/installed  ## the latest study's report: make report ARGS="--study NAME"
	.venv/bin/python -m depthcheck report $(ARGS)

# The store is where a study writes to. Jobs are for language models, and leave files in /dev/shm.
ui: .venv/installed  ## browse the results on http://127.0.0.1:5000
	MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false .venv/bin/python -m mlflow ui --backend-store-uri "$$($(STORE))" $(ARGS)
STORE = .venv/bin/python -c "from depthcheck.experiments.tracking.store import tracking_uri; print(tracking_uri())"

# A file is tested as a whole by one process, since its tests share what is slow to make; the longest come first.
test: .venv/installed-dev  ## the tests, or some: make test ARGS="tests/reports -k figures"
	.venv/bin/python -m pytest --numprocesses logical --maxprocesses 4 --dist loadfile --no-loadscope-reorder \
		--durations 10 $(ARGS)

check: .venv/installed-dev docs  ## format, lint, types, import contracts and links of the docs
	ruff format --check .
	ruff check .
	mypy
	lint-imports

# Built from a copy of what links lead to: Zensical follows no links between folders.
docs: .venv/installed-dev  ## the documentation as a site, build/site/index.html
	rm -rf build/pages build/site && mkdir -p build/pages
	tar -cf - *.md docs examples experiments/definitions $(LINKED) | tar -xf - -C build/pages
	zensical build --strict
LINKED = pipeline/trial.py reports/figures/__init__.py reports/text/report.md.j2

bench: .venv/installed-dev  ## writes docs/performance.md (45 minutes), or another benchmark: make bench BENCH=verdicts
	.venv/bin/python -m benchmarks.$(BENCH) $(ARGS)

lock: .venv/installed-dev  ## pin pyproject.toml's ranges: make lock ARGS=--upgrade
	$(COMPILE) pyproject.toml --output-file requirements.txt $(ARGS)
	$(COMPILE) --group dev --group docs --constraints requirements.txt --output-file requirements-dev.txt $(ARGS)
COMPILE = uv pip compile --quiet --universal --fork-strategy fewest --python-version 3.11 --no-emit-index-url --no-annotate \
	--custom-compile-command "make lock"

clean:  ## all that make made; never a result
	rm -rf .venv build .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache

.venv/installed-dev: requirements-dev.txt .venv/installed
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@

.venv/installed: requirements.txt | .venv/bin/python
	@echo "Installing the pinned environment into .venv (3 GB, a few minutes)"
	.venv/bin/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/bin/python:
	@command -v "$(PYTHON)" >/dev/null || { echo "Depthcheck needs Python 3.11, 3.12 or 3.13, but there is no $(PYTHON); \
	name one: make run PYTHON=/path/to/python3.11" >&2; exit 1; }
	@"$(PYTHON)" -c "$$CHECK_PYTHON"
	"$(PYTHON)" -m venv --clear .venv
