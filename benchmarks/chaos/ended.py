"""What happens to studies that have ended: damages of docs/doctor.md and docs/promises.md, each in a copy."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import optuna
import pandas as pd

from benchmarks.chaos.rounds import CLEAN, STARTED, Play, Round
from depthcheck.experiments.lock import lock_file
from depthcheck.experiments.tracking.store import client
from tests.end_to_end.damages import IRREPARABLE, REPAIRABLE, Damage, Hurt, swap_class_names

#: Groups that the same command refuses, naming what restores them, and those that it repairs by itself.
_REFUSED = dict.fromkeys(
    ("study's run deleted", "experiment deleted"), "is deleted in MLflow: restore it .* -e doctor "
)
_RESTORED = {"optuna.db lost": "11 more, which", "optuna.db of earlier": "5 more, which"}
#: What can be done at once to different parts of a study.
_PAGES = ("page, without", "page, with another", "page, damaged")


def _as_it_was(one: Round) -> None:
    one.doctor(0, CLEAN)
    one.goes_on()
    one.doctor(0, CLEAN)
    one.same()


def _damaged(group: str) -> Play:
    """Return the round of some damages of a group."""

    def play(one: Round) -> None:
        damages = REPAIRABLE[group]
        _hurt_and_repaired(one, _some(one, damages, one.rng.randint(1, len(damages))), group)

    return play


def _at_once(one: Round) -> None:
    damages = [*REPAIRABLE["trials"], *REPAIRABLE["models"], *REPAIRABLE[one.rng.choice(_PAGES)]]
    _hurt_and_repaired(one, _some(one, damages, one.rng.randint(3, 7)), "")


def _some(one: Round, damages: Sequence[Damage], n: int) -> list[Damage]:
    """Draw damages, in the order of the table: a second run of a trial copies the tags of the first one as they are."""
    return [damages[index] for index in sorted(one.rng.sample(range(len(damages)), n))]


def _hurt_and_repaired(one: Round, damages: Sequence[Damage], group: str) -> None:
    for harm, _ in damages:
        harm(one.hurt)
    one.doctor(1, *(said for _, said in damages))
    if group in _REFUSED:
        one.start(2, _REFUSED[group])
    elif one.rng.random() < STARTED:
        one.goes_on(*(_RESTORED[group],) if group in _RESTORED else ())
    one.doctor(0, CLEAN, fix=True)
    one.doctor(0, CLEAN)
    one.same()


def _named_and_left(one: Round) -> None:
    damages = one.rng.sample(IRREPARABLE, one.rng.randint(1, 3))
    for harm, _ in damages:
        harm(one.hurt)
    said = [said for _, said in damages]
    for fix in (False, True, False):
        one.doctor(1, *said, fix=fix)


def _optuna(spoil: Callable[[Path], object]) -> Play:
    """Return the round of an ``optuna.db`` that has lost the study: it is taken over from MLflow."""

    def play(one: Round) -> None:
        path = one.hurt.path / "optuna.db"
        spoil(path)
        one.doctor(1, "MLflow has the study .* and .*optuna.db has not")
        if one.rng.random() < 0.5:
            one.goes_on("has 0 of the trials of study .*; 11 more, which have ended in MLflow .* are taken over")
        else:
            one.doctor(0, CLEAN, fix=True)
        one.doctor(0, CLEAN)
        others = one.hurt.studies().keys() - {one.patterns.name}
        one.expect(len(others) == (spoil is _of_another_study), f"beside the study there are {others}")
        for name in others:  # it has been left alone; what is compared is the only study
            optuna.delete_study(study_name=name, storage=one.hurt.storage)
        one.same()

    return play


def _of_another_study(path: Path) -> None:
    path.unlink()
    optuna.create_study(storage=f"sqlite:///{path}", study_name="another")


def _cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:10_000])


def _refused(name: str, spoil: Callable[[Path], object], start: str, doctor: str, code: int = 2) -> Play:
    """Return the round of a database with which the study does not start, and into which nothing is written."""

    def play(one: Round) -> None:
        path, other = one.hurt.path / name, one.hurt.path / ("mlflow.db" if name == "optuna.db" else "optuna.db")
        spoil(path)
        before = [one_of.read_bytes() if one_of.exists() else None for one_of in (path, other)]
        one.doctor(code, doctor, outside=True)
        one.start(2, start)
        one.doctor(code, doctor, fix=True, outside=True)
        after = [one_of.read_bytes() if one_of.exists() else None for one_of in (path, other)]
        if before[0] == b"":  # looking at an empty file makes a database of it
            before[0] = after[0]
        one.expect(before == after, f"{name} was written, or {other.name}")
        one.put_back(name)
        one.doctor(0, CLEAN)
        one.same()

    return play


def _of_no_study(path: Path) -> None:
    path.unlink()
    # MLflow gives a database that it opens for the first time its experiment "Default".
    client(f"sqlite:///{path}").search_experiments()


def _optuna_and_design_gone(one: Round) -> None:
    (one.hurt.path / "optuna.db").unlink()
    for path in one.hurt.path.rglob("design.json"):
        path.unlink()
    one.start(2, "no session of it noted its definition")
    one.doctor(1, "MLflow has the study", "cannot be repaired", fix=True)
    one.put_back("optuna.db")
    one.doctor(1, "design.json .* is missing")
    one.goes_on()
    one.doctor(0, CLEAN)
    one.same()


def _storage_elsewhere(one: Round) -> None:
    one.start(0, "11 more, which have ended in MLflow", more=("--storage", f"sqlite:///{one.hurt.path / 'other.db'}"))
    one.doctor(0, CLEAN)
    shutil.move(one.hurt.path / "other.db", one.hurt.path / "optuna.db")
    one.doctor(0, CLEAN)
    one.same()


def _lock(plant: Callable[[Path, Path], object]) -> Play:
    """Return the round of something planted in place of the lock."""

    def play(one: Round) -> None:
        lock, precious = lock_file(one.hurt.path, one.patterns.name), one.hurt.path / "precious"
        lock.unlink()
        plant(lock, precious)
        said = "the study's lock must be a file of yours that can be written, got "
        one.doctor(2, said)
        one.start(2, said)
        one.doctor(2, said, fix=True)
        one.expect(not precious.exists() or precious.read_text() == "precious", "what the link leads to was written")
        lock.rmdir() if lock.is_dir() and not lock.is_symlink() else lock.unlink()
        if one.rng.random() < STARTED:
            one.goes_on()
        one.doctor(0, CLEAN)
        one.same()

    return play


def _link_to_a_file(lock: Path, precious: Path) -> None:
    precious.write_text("precious")
    lock.symlink_to(precious)


def _temporary(one: Round) -> None:
    precious = one.hurt.path / "precious"
    precious.mkdir()
    for name in ("global.lock", "purge.lock", "lock"):
        (precious / name).write_text("precious")
    planted = one.temporary
    for name in ("dask-scratch-space", "depthcheck-session-1-link", "db_init_lock-sqlite"):
        (planted / name).symlink_to(precious, target_is_directory=True)
    os.mkfifo(planted / "depthcheck-session-2-pipe")
    before = set(planted.iterdir())
    one.goes_on()
    one.doctor(0, CLEAN, outside=True)
    one.expect(set(planted.iterdir()) == before, "what was planted is gone")
    one.expect({path.read_text() for path in precious.iterdir()} == {"precious"}, "a file of the link's was written")
    one.same()


def _data_changed(one: Round) -> None:
    text = one.patterns.data.read_text()
    one.patterns.data.write_text(text.replace("0.5", "0.6", 3))
    one.start(2, "data must be those of study .* with SHA-256 .* got ", more=("--study", one.patterns.name))
    run_id = one.hurt.run_of(one.rng.randrange(one.patterns.n_trials))
    code, said = one.ask("reproduce", "--run-id", run_id)
    one.expect(code == 2 and "data must be those of" in said, f"reproduce ended with {code}:\n{said}")
    one.doctor(0, CLEAN)
    process = one.begin("run", *one.patterns.words)
    assert process.stdout is not None
    lines = [next((line for line in process.stdout if "this is another study" in line), "")]
    os.killpg(process.pid, signal.SIGINT)
    rest, _ = process.communicate(timeout=600)
    said = "the data have changed since study .*: SHA-256 was .* this is another study"
    one.started(process.returncode, "".join([*lines, rest]), 130, said)
    one.doctor(0, CLEAN)
    one.patterns.data.write_text(text)
    if one.rng.random() < STARTED:
        one.goes_on()
    one.same()


def _data_gone(one: Round) -> None:
    text = one.patterns.data.read_text()
    shutil.rmtree(one.hurt.model_folder(3))
    one.patterns.data.unlink()
    one.start(2, "there is no|no such|must be")
    one.doctor(1, "trial 3: its model is not as it was")
    one.doctor(1, "trial 3: its model is not as it was", "cannot be repaired", fix=True)
    one.patterns.data.write_text(text)
    one.doctor(0, CLEAN, fix=True)
    one.doctor(0, CLEAN)
    one.same()


def _champion(one: Round) -> None:
    """Ask a champion whose class names were swapped, then what the doctor has made of it."""
    swap_class_names(one.hurt)
    new = one.patterns.base / "new.csv"
    new.write_text("length,width,colour\n0.1,0.2,r\n1.5,-1.0,g\n2.2,-2.5,b\n")
    code, said = one.ask("predict", "--input", str(new), "--output", "swapped.csv")
    one.expect(code == 2 and "served.json has another content" in said, f"predict ended with {code}:\n{said}")
    one.expect(not (one.hurt.path / "swapped.csv").exists(), "a changed model was asked")
    one.doctor(1, "served.json has another content")
    one.doctor(0, CLEAN, fix=True)
    code, said = one.ask("predict", "--input", str(new), "--output", "answers.csv")
    one.expect(code == 0, f"predict ended with {code}:\n{said}")
    if code == 0:
        expected = one.patterns.base / "answers.csv"
        if not expected.exists():
            shutil.copy(one.hurt.path / "answers.csv", expected)
        found = pd.read_csv(one.hurt.path / "answers.csv")
        one.expect(found.equals(pd.read_csv(expected)), "the champion answers otherwise than in another round")
    one.doctor(0, CLEAN)
    one.same()


def _two_starts(spoil: Callable[[Hurt], object]) -> Play:
    """Return the round of two starts at once: one ends, the other too or is refused."""

    def play(one: Round) -> None:
        spoil(one.hurt)
        both = [one.begin("run", *one.patterns.words) for _ in range(2)]
        for process in both:
            said, _ = process.communicate(timeout=600)
            refused = process.returncode == 2
            one.started(
                process.returncode, said, 2 if refused else 0, "is running: process" if refused else "continues: 11 of"
            )
        one.expect(0 in one.start_said, "no start succeeded")
        one.doctor(0, CLEAN)
        one.same()

    return play


PLAYS: Mapping[str, Play] = {
    "nothing": _as_it_was,
    **{f"damage: {group}": _damaged(group) for group in REPAIRABLE},
    "damage: several at once": _at_once,
    "damage that cannot be repaired": _named_and_left,
    "optuna.db deleted": _optuna(Path.unlink),
    "optuna.db empty": _optuna(lambda path: path.write_bytes(b"")),
    "optuna.db of another study": _optuna(_of_another_study),
    "optuna.db cut short": _refused("optuna.db", _cut_short, "malformed|cannot", "malformed|cannot"),
    "optuna.db and design.json gone": _optuna_and_design_gone,
    "another storage given": _storage_elsewhere,
    "mlflow.db deleted": _refused("mlflow.db", Path.unlink, "must be in MLflow too", "tracking store must be there"),
    "mlflow.db empty": _refused(
        "mlflow.db", lambda path: path.write_bytes(b""), "must be in MLflow too", "all its trials are gone", 1
    ),
    "mlflow.db of no study": _refused("mlflow.db", _of_no_study, "must be in MLflow too", "all its trials are gone", 1),
    "mlflow.db cut short": _refused("mlflow.db", _cut_short, "malformed|cannot", "malformed|cannot"),
    "lock: link to a file": _lock(_link_to_a_file),
    "lock: link that dangles": _lock(lambda lock, precious: lock.symlink_to(precious)),
    "lock: pipe": _lock(lambda lock, _: os.mkfifo(lock)),
    "lock: folder": _lock(lambda lock, _: lock.mkdir()),
    "links and a pipe in $TMPDIR": _temporary,
    "data changed between starts": _data_changed,
    "data gone, and a model": _data_gone,
    "champion's class names swapped": _champion,
    "two starts at once": _two_starts(lambda _: None),
    "two starts without optuna.db": _two_starts(lambda hurt: (hurt.path / "optuna.db").unlink()),
}
