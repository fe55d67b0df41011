"""Studies of a newer version are refused in one line, those of an older one are read."""

import json
from pathlib import Path

import pytest

from depthcheck.experiments import tracking
from depthcheck.experiments.tracking import keys, reading
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig

CONFIG = TrialConfig(
    data=DataConfig(name="digits"),
    data_sha256="ab" * 32,
    split=SplitConfig(),
    model=ModelConfig(units=(), activation=None),
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.1),
    fit=FitConfig(epochs=1, batch_size=32, seed=1),
)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> tuple[str, str, str]:
    """Return a store with a study and a trial that failed: its address and the two runs."""
    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    path.write_bytes(empty_store.read_bytes())
    uri = f"sqlite:///{path}"
    study = tracking.open_parent("mine", uri=uri, environ={}, artifacts={keys.DESIGN: {"question": "?"}})
    run = tracking.start_trial(study, number=0, phase="baseline", config=CONFIG)
    run.fail("ValueError: no")
    return uri, study.run_id, run.run_id


OPENINGS = {
    "trials": lambda uri, study, trial: tracking.trials(uri, study),
    "one trial of it": lambda uri, study, trial: tracking.finished_trial(uri, study, 0),
    "open trials": lambda uri, study, trial: reading.running_trials(uri, study),
    "design": lambda uri, study, trial: tracking.study_design(uri, study),
    "best run": lambda uri, study, trial: tracking.best_run(uri, study),
    "trial by its run": lambda uri, study, trial: tracking.trial(uri, trial),
    "going on": lambda uri, study, trial: tracking.open_parent("mine", uri=uri, parent_run_id=study, environ={}),
}


@pytest.mark.parametrize("version", ["3", "10", "later"])
@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_what_a_newer_version_wrote_is_refused_in_one_line_and_not_written_to(stored, opening, version):
    uri, *run_ids = stored
    for run_id in run_ids:
        client(uri).set_tag(run_id, keys.SCHEMA, version)
    before = [client(uri).get_run(run_id).to_dictionary() for run_id in run_ids]
    with pytest.raises(ValueError, match=f"must have schema version 2 or older, got {version}: a newer") as caught:
        opening(*stored)
    assert "\n" not in str(caught.value)
    assert str(caught.value).startswith(("study 'mine'", f"run {run_ids[0]}", f"run {run_ids[1]}"))
    assert [client(uri).get_run(run_id).to_dictionary() for run_id in run_ids] == before


@pytest.mark.parametrize("version", ["2", "1", "0", None])
@pytest.mark.parametrize("opening", OPENINGS.values(), ids=OPENINGS)
def test_what_this_or_an_older_version_wrote_is_read(stored, opening, version):
    uri, *run_ids = stored
    for run_id in run_ids:
        client(uri).set_tag(run_id, keys.SCHEMA, version or "0")
        if version is None:
            client(uri).delete_tag(run_id, keys.SCHEMA)
    opening(*stored)


def test_studies_of_all_versions_are_listed(stored):
    uri, study, _ = stored
    client(uri).set_tag(study, keys.SCHEMA, "3")
    assert [one.schema_version for one in tracking.studies(uri)] == ["3"]


def test_study_that_cannot_be_read_hides_no_other_and_can_be_deleted(uri, tmp_path, here):
    tracking.open_parent("sound", uri=uri, environ={}, artifacts={keys.DESIGN: {"question": "?"}})
    later = tracking.open_parent("later", uri=uri, environ={}, artifacts={keys.DESIGN: {"question": "?"}})
    client(uri).set_tag(later.run_id, keys.SCHEMA, "3")
    later.finish()
    cut = tracking.open_parent("cut", uri=uri, environ={}, artifacts={keys.DESIGN: '{"quest'})

    done = here(tmp_path, "list", "--json")
    rows = {row["study"]: (row["question"], row["n_planned"]) for row in json.loads(done.stdout)}
    assert (done.returncode, rows) == (0, {"cut": ("", None), "later": ("", None), "sound": ("?", 0)})
    assert [line.partition(" cannot")[0] for line in done.stderr.splitlines()] == [
        "warning: study cut", "warning: study later",
    ]  # fmt: skip
    done = here(tmp_path, "report", "--study", "cut")
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: design.json of run {cut.run_id} in ")
    assert done.stderr.endswith(" is damaged: the study's next start writes it again\n")
    assert here(tmp_path, "list").returncode == 0
    done = here(tmp_path, "delete", "later", "--yes")
    assert done.stdout.endswith(f"mlflow gc --backend-store-uri {uri} --tracking-uri {uri}\n")
    assert [one.study for one in tracking.studies(uri)] == ["cut", "sound"]
