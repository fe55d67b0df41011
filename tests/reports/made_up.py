"""A whole study as it is read back, made up: real enough to be looked at, of any size."""

from __future__ import annotations

import numpy as np
from study_records import CLASSES, design, facts, finalist, finalist_of, seeded

from depthcheck.experiments.planning.definition import parse
from depthcheck.experiments.study.describe import tuned_in_words
from depthcheck.pipeline.config import DataConfig, FitConfig, ModelConfig, OptimizerConfig, SplitConfig, TrialConfig
from depthcheck.pipeline.records import Evaluation, History, Predictions, TrialRecord
from depthcheck.reports.compare.study_data import DataFacts, Factor, Importance, StudyData
from depthcheck.reports.read import search_ranges

RANGES = {"sgd": (3e-3, 0.5), "adam": (1e-4, 1e-2)}
#: Learning rate at which each optimizer does best, as a share of its range.
BEST_AT = {"sgd": 0.75, "adam": 0.5}
TUNED = {
    "units": {"low": 32, "high": 256, "log": True},
    "activation": ["sigmoid", "tanh", "relu"],
    "batch_size": [32, 64, 128, 256],
    "dropout": {"low": 0.0, "high": 0.4, "step": 0.1},
    **{name: {"learning_rate": {"low": low, "high": high, "log": True}} for name, (low, high) in RANGES.items()},
}
N_VALID, N_TEST = 12_000, 10_000


class MadeUpStudy:
    """Builds records that behave: deep sigmoid networks stand still, learning rates matter, seeds scatter."""

    def __init__(
        self, *, depths=(0, 1, 2, 3, 5), optimizers=("sgd", "adam"), common_settings=8, n_seeds=5, epochs=20, seed=0
    ):
        self.rng = np.random.default_rng(seed)
        self.depths, self.optimizers, self.common_settings = depths, optimizers, common_settings
        self.seeds = tuple(int(s) for s in self.rng.integers(2**32, size=n_seeds))
        self.epochs = epochs
        self.records: list[TrialRecord] = []
        self.predictions: dict[str, Predictions] = {}
        self.diagnostics: dict[str, dict[str, dict[int, float]]] = {}
        self.y = self.rng.integers(10, size=N_TEST)
        self.hard = self.rng.standard_normal(N_TEST) + np.isin(self.y, [0, 2, 4, 6]) * 1.2

    def config(self, depth, optimizer, *, seed=1, activation=None, share=None):
        low, high = RANGES[optimizer]
        share = self.rng.random() if share is None else share
        units = int(2 ** self.rng.uniform(5, 8))
        activation = activation or str(self.rng.choice(["sigmoid", "tanh", "relu"]))
        return TrialConfig(
            data=DataConfig(name="fashion-mnist"),
            data_sha256="ab" * 32,
            split=SplitConfig(),
            model=ModelConfig(units=(units,) * depth, activation=activation if depth else None),
            optimizer=OptimizerConfig(name=optimizer, learning_rate=float(low * (high / low) ** share)),
            fit=FitConfig(epochs=self.epochs, batch_size=int(self.rng.choice([32, 64, 128])), seed=seed),
        )

    def quality(self, config):
        """Return the expected accuracy of a configuration; 0.1 where it stands still."""
        name, depth = config.optimizer.name, config.model.depth
        low, high = RANGES[name]
        off = np.log(config.optimizer.learning_rate / low) / np.log(high / low) - BEST_AT[name]
        if depth >= 3 and config.model.activation == "sigmoid" and name == "sgd":
            return 0.1
        gain = {0: 0.0, 1: 0.040, 2: 0.0465, 3: 0.047}.get(depth, 0.045)
        width = 0.002 * np.log2(max(sum(config.model.units), 32) / 32)
        return 0.842 + gain + width - 0.09 * off**2 * (1 + depth / 3) + 0.002 * (name == "adam")

    def curve(self, quality, final):
        epoch = np.arange(1, self.epochs + 1)
        rise = 1 - np.exp(-epoch / 3)
        valid = 0.1 + (final - 0.1) * rise + 0.002 * self.rng.standard_normal(self.epochs)
        valid[-1] = final
        train = 0.1 + (quality + 0.03 - 0.1) * rise**0.8 if quality > 0.2 else np.full(self.epochs, 0.101)
        loss = 2.3 * (1 - rise) + 3 * (1 - final) * rise
        return History(
            train_loss=tuple(loss * 0.85),
            train_score=tuple(np.minimum(train, 0.999)),
            valid_loss=tuple(loss + (0.002 * epoch if quality > 0.88 else 0)),
            valid_score=tuple(valid),
            learning_rate=(0.01,) * self.epochs,
            seconds=(0.5,) * self.epochs,
        )

    def trial(self, config, phase, *, state="finished", finalist=None):
        number = len(self.records)
        quality = self.quality(config)
        is_stuck = state == "diverged" or quality < 0.2
        score = 0.1 if is_stuck else quality + 0.0022 * self.rng.standard_normal()
        loss = 3 * (1 - score)
        evaluations = [Evaluation(part="valid", loss=loss, score=score, metric="accuracy", n_samples=N_VALID)]
        run_id = f"{number:032x}"
        tags = {"finalist": finalist} if finalist else {}
        if phase == "confirm" or (phase == "compare" and state == "finished"):
            evaluations.append(self.predict(run_id, 0.1 if is_stuck else score - 0.004))
        if phase == "confirm":
            self.diagnose(run_id, config, quality)
        n_params, before = 0, 784
        for width in (*config.model.units, 10):
            n_params, before = n_params + before * width + width, width
        record = TrialRecord(
            run_id=run_id,
            study="made-up",
            number=number,
            phase=phase,
            state=state,
            config=config,
            history=self.curve(quality, score) if state != "failed" else History(),
            evaluations=() if state == "failed" else tuple(evaluations),
            n_params=n_params,
            fit_seconds=float(self.epochs * (0.2 + n_params / 4e5) * self.rng.uniform(0.95, 1.1)),
            failure="ResourceExhaustedError: out of memory" if state == "failed" else None,
            tags=tags,
        )
        self.records.append(record)
        return record

    def predict(self, run_id, accuracy):
        margin = self.hard + 0.45 * self.rng.standard_normal(N_TEST)
        right = margin <= np.quantile(margin, accuracy)
        confused = {0: 6, 6: 0, 2: 4, 4: 2, 3: 0, 5: 7, 7: 9, 9: 7, 1: 3, 8: 6}
        wrong = np.array([confused[int(label)] for label in self.y])
        predicted = np.where(right, self.y, wrong)
        self.predictions[run_id] = Predictions(
            y=self.y, predicted=predicted, probability=np.full(N_TEST, 0.9, dtype=np.float32)
        )
        return Evaluation(
            part="test", loss=3 * (1 - accuracy), score=float(right.mean()), metric="accuracy", n_samples=N_TEST
        )

    def diagnose(self, run_id, config, quality):
        depth, still = config.model.depth, quality < 0.2
        curves = {}
        for layer in range(1, depth + 1):
            factor = 0.18 if config.model.activation == "sigmoid" else 0.8
            size = 0.3 * factor ** (depth + 1 - layer)
            decay = 1.0 if still else 0.9
            curves[f"gradient_norm/hidden_{layer}"] = {e: size * decay**e for e in range(1, self.epochs + 1)}
            level = 0.02 * layer
            curves[f"saturation/hidden_{layer}"] = {e: min(1.0, level * e**0.5) for e in range(1, self.epochs + 1)}
        curves["gradient_norm/logits"] = {e: 0.3 * 0.93**e for e in range(1, self.epochs + 1)}
        self.diagnostics[run_id] = curves

    def run(self, *, n_exploit=10, diverged=2, failed=1):
        """Run baseline, compare and exploit."""
        baseline = self.config(1, "sgd", activation="sigmoid", share=0.23)
        self.trial(baseline, "baseline")
        for common_setting in range(self.common_settings):
            share, activation = self.rng.random(), str(self.rng.choice(["sigmoid", "tanh", "relu"]))
            for depth in self.depths:
                for optimizer in self.optimizers:
                    config = self.config(depth, optimizer, seed=common_setting, share=share, activation=activation)
                    state = "diverged" if common_setting == 0 and depth and diverged > 0 else "finished"
                    diverged -= state == "diverged"
                    if common_setting == 1 and failed > 0 and depth:
                        state, failed = "failed", failed - 1
                    self.trial(config, "compare", state=state)
        for _ in range(n_exploit):
            depth = int(self.rng.choice(self.depths[1:] or self.depths))
            self.trial(self.config(depth, self.optimizers[-1], activation="relu", share=0.5), "exploit")
        return self

    def finalists(self):
        """Return what the search would have chosen: its best, and the best of another combination of levels."""
        compared = [r for r in self.records if r.phase == "compare"]
        best = self._best([r for r in self.records if r.phase in ("compare", "exploit")])
        other = best and self._best([r for r in compared if self._combination(r) != self._combination(best)])
        return tuple(finalist_of(one, self._stands_for(one, compared)) for one in (best, other) if one is not None)

    def _combination(self, record):
        return record.config.model.depth, record.config.optimizer.name

    def _stands_for(self, record, compared):
        at = zip(("depth", "optimizer"), range(2), strict=True)
        return tuple(
            (name, str(self._combination(record)[place]))
            for name, place in at
            if self._best([r for r in compared if self._combination(r)[place] == self._combination(record)[place]])
            is record
        )

    @staticmethod
    def _best(records):
        finished = [r for r in records if r.state == "finished"]
        return max(finished, key=lambda r: r.evaluation("valid").score, default=None)

    def confirm(self, finalists, *, seeds=None):
        """Train each finalist on the fresh seeds."""
        for one in finalists:
            for seed in self.seeds if seeds is None else self.seeds[:seeds]:
                self.trial(seeded(one.config, seed), "confirm", finalist=one.id)
        return self

    def chosen(self, *, depths=(1, 3), activation="relu", optimizer="adam") -> StudyData:
        """Return a study of configurations that the user chose."""
        chosen = [
            finalist(
                f"run-{depth}",
                self.config(depth, optimizer, activation=activation, share=0.5),
                stands_for=(("configuration", f"run-{depth}"),),
                origin="chosen",
            )
            for depth in depths
        ]
        factor = Factor.of("configuration", tuple(one.id for one in chosen))
        return self.confirm(chosen).data(chosen, design=design(name="pairwise", factors=(factor,)))

    def planned(self):
        """Return the budget of the search."""
        exploit = sum(record.phase == "exploit" for record in self.records)
        return {
            "baseline": 1,
            "compare": self.common_settings * len(self.depths) * len(self.optimizers),
            "exploit": exploit,
        }

    def data(self, finalists=(), **changes) -> StudyData:
        """Return the study as it would be read back."""
        experiment = parse(
            {
                "data": {"name": "fashion-mnist"},
                "budget": {"trials": 100, "epochs": 20, "compare": 0.8},
                "compare": {"depth": list(self.depths), "optimizer": list(self.optimizers)},
                "tune": {name: of for name, of in TUNED.items() if name in self.optimizers or name not in RANGES},
            },
            name="made-up",
        )
        of_design = design(
            name="made-up-12345678",
            factors=(
                Factor.of("depth", tuple(map(str, self.depths))),
                Factor.of("optimizer", tuple(self.optimizers)),
            ),
            n_seeds=len(self.seeds),
            budgets=self.planned(),
            compare_share=0.8,
            cores=2,
            ranges=search_ranges(experiment),
        )
        of_data = DataFacts(
            name="fashion-mnist", sha256="ab" * 32, source="Keras", class_names=CLASSES, class_counts=(6_000,) * 10,
            n_samples=60_000, n_train=48_000, n_valid=N_VALID, n_test=N_TEST,
            how="share 0.2 drawn by seed 1234",
        )  # fmt: skip
        of_study = facts(
            of_data,
            question="Does another hidden layer help on Fashion-MNIST, and does Adam help over SGD?",
            epochs=20,
            seed=1234,
            tuned=tuple(tuned_in_words(experiment)),
            seeds=self.seeds if finalists else (),
            finalists_sha256="cd" * 32 if finalists else "",
            environment={
                "python": "3.11.7",
                "platform": "Linux",
                "cpu": "a processor",
                "cpus": 2,
                "packages": {"tensorflow": "2.21.0", "keras": "3.15.0"},
            },
            command="depthcheck run --experiment fashion_mnist --trials 60 --seeds 5",
            importances=(
                Importance(method="PED-ANOVA", n_trials=40, shares=(("learning_rate", 0.6), ("depth", 0.4))),
                Importance(method="fANOVA", n_trials=40, shares=(("learning_rate", 0.8), ("depth", 0.2))),
            ),
        )
        fields = {
            "design": of_design,
            "records": tuple(self.records),
            "finalists": tuple(finalists),
            "predictions": self.predictions,
            "diagnostics": self.diagnostics,
            "facts": of_study,
        }
        return StudyData(**{**fields, **changes})


def whole_study(**kwargs) -> StudyData:
    """Return a study that ran to its end."""
    study = MadeUpStudy(**kwargs).run()
    finalists = study.finalists()
    return study.confirm(finalists).data(finalists)
