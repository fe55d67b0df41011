from __future__ import annotations

import json
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from depthcheck.experiments import tracking
from depthcheck.experiments.tracking.store import client
from depthcheck.pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.records import Evaluation, History, TrialResult

PIXELS = np.random.default_rng(0).integers(0, 256, (3, 28, 28))
CONFIG = TrialConfig(
    data=DataConfig(name="fashion-mnist"),
    data_sha256="ab" * 32,
    split=SplitConfig(),
    model=ModelConfig(units=(), activation=None),
    optimizer=OptimizerConfig(name="sgd", learning_rate=0.1),
    fit=FitConfig(epochs=1, batch_size=32, seed=1),
)
RESULT = TrialResult(
    config=CONFIG,
    state="finished",
    history=History(
        train_loss=(0.5,),
        train_score=(0.5,),
        valid_loss=(0.5,),
        valid_score=(0.5,),
        learning_rate=(0.1,),
        seconds=(0.1,),
    ),
    valid=Evaluation(part="valid", loss=0.5, score=0.5, metric="accuracy", n_samples=10),
    test=None,
    n_params=7850,
    fit_seconds=0.1,
)


class Logged(NamedTuple):
    uri: str
    run_id: str
    model_id: str
    expected: NDArray[np.float32]
    folder: Path


@pytest.fixture(scope="module")
def logged(tmp_path_factory: pytest.TempPathFactory, empty_store: Path) -> Logged:
    """A model from raw pixels to probabilities, logged with its trial."""
    import keras

    folder = tmp_path_factory.mktemp("store")
    (folder / "mlflow.db").write_bytes(empty_store.read_bytes())
    study = tracking.open_parent("s", uri=f"sqlite:///{folder}/mlflow.db", environ={})
    model = keras.Sequential(
        [
            keras.Input((28, 28)),
            keras.layers.Flatten(),
            keras.layers.Rescaling(1 / 255),
            keras.layers.Dense(10, kernel_initializer=keras.initializers.GlorotUniform(seed=3)),
            keras.layers.Softmax(),
        ]
    )
    run = tracking.start_trial(study, number=0, phase="baseline", config=CONFIG)
    run.finish(RESULT, model)
    (output,) = client(study.tracking_uri).get_run(run.run_id).outputs.model_outputs
    return Logged(study.tracking_uri, run.run_id, output.model_id, model.predict(PIXELS, verbose=0), folder)


@pytest.fixture
def scorer(logged: Logged) -> Iterator[Any]:
    import mlflow

    mlflow.set_tracking_uri(logged.uri)
    yield mlflow.pyfunc.load_model(f"models:/{logged.model_id}")
    mlflow.set_tracking_uri(None)


@pytest.mark.parametrize("dtype", ["uint8", "int32", "int64", "float32", "float64"])
def test_logged_model_takes_raw_pixels_of_any_dtype(scorer: Any, logged: Logged, dtype: str) -> None:
    np.testing.assert_array_equal(scorer.predict(PIXELS.astype(dtype)), logged.expected)


@pytest.mark.parametrize("form", ["inputs", "instances"])
@pytest.mark.parametrize("dtype", ["int64", "float64"])
def test_scoring_server_takes_raw_pixels_as_json(scorer: Any, logged: Logged, form: str, dtype: str) -> None:
    from mlflow.pyfunc.scoring_server import invocations

    body = json.dumps({form: PIXELS.astype(dtype).tolist()})

    answer = invocations(body, "application/json", scorer, scorer.metadata.get_input_schema())

    assert answer.status == 200
    np.testing.assert_allclose(json.loads(answer.response)["predictions"], logged.expected, rtol=1e-6)


def test_model_of_a_run_is_loaded_as_keras_model(logged: Logged) -> None:
    model = tracking.load_model(logged.uri, logged.run_id)

    np.testing.assert_array_equal(model.predict(PIXELS, verbose=0), logged.expected)


def test_model_shows_its_parameters_and_scores_and_is_ready(logged: Logged) -> None:
    model = client(logged.uri).get_logged_model(logged.model_id)

    assert (model.name, model.status.value, model.source_run_id) == ("model", "READY", logged.run_id)
    assert model.params == {key: str(value) for key, value in CONFIG.to_params().items()}
    assert {metric.key: metric.value for metric in model.metrics}["final_valid_accuracy"] == 0.5


def test_model_pins_what_it_needs_and_holds_no_pickle(logged: Logged) -> None:
    (folder,) = (path.parent for path in logged.folder.rglob("MLmodel"))

    requirements = (folder / "requirements.txt").read_text().split()

    pinned = {f"{name}=={metadata.version(name)}" for name in ("mlflow", "tensorflow", "keras", "numpy")}
    assert set(requirements) == pinned
    assert {path.suffix for path in folder.rglob("*") if path.is_file()} <= {"", ".yaml", ".txt", ".keras"}


def test_damaged_model_is_one_clear_line(uri: str, tmp_path: Path) -> None:
    import keras

    study = tracking.open_parent("s", uri=uri, environ={})
    run = tracking.start_trial(study, number=0, phase="baseline", config=CONFIG)
    run.finish(RESULT, keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]))
    (output,) = client(uri).get_run(run.run_id).outputs.model_outputs
    (archive,) = (path for path in tmp_path.rglob("model.keras") if output.model_id in str(path))
    whole = archive.read_bytes()

    for damaged in (b"", whole[:500], whole.replace(b"config.json", b"config.jsoo")):
        archive.write_bytes(damaged)
        with pytest.raises(tracking.TrackingError, match=f"cannot load the model of run {run.run_id}: .+") as caught:
            tracking.load_model(uri, run.run_id)
        assert "\n" not in str(caught.value)


def test_run_without_a_model_is_one_clear_line(logged: Logged) -> None:
    study = tracking.open_parent("s", uri=logged.uri, environ={})

    with pytest.raises(tracking.TrackingError, match=f"cannot load the model of run {study.run_id}: it has none"):
        tracking.load_model(logged.uri, study.run_id)
