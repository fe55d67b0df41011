"""What happens to studies on their way: kills, full disks, locks, data that change, another start."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace

from benchmarks.chaos.rounds import Play, Round
from tests.end_to_end.chaos import Study, Tally, command, n_told, plan_kills, rows
from tests.end_to_end.damages import REPAIRABLE
from tests.end_to_end.mounts import fill, locked, may_mount, mounted

_GOES_ON = "; the same command goes on where it stopped"
_RUNNING = "SELECT count(*) FROM runs WHERE status = 'RUNNING'"
_SIZE = "24m"


def _killed(target: str) -> Play:
    """Return the round of two or three kills; where nothing runs any more the doctor may be asked."""

    def play(one: Round) -> None:
        kills = plan_kills(one.rng.randrange(10**6), one.rng.randint(2, 3), one.patterns.n_trials)
        with _study(one) as study:
            for kill in kills:
                study.ensure_running()
                study.wait_for(kill)
                study.deliver(replace(kill, target=target))
                if study.process.poll() is not None and one.rng.random() < 0.5:
                    one.expect(not study.left_behind(), "workers outlived their coordinator")
                    _ask_doctor(one)
            for _ in range(10):
                if study.ended_well():
                    break
        one.start_said.append(study.process.returncode)
        one.expect(not study.left_behind(), "processes were left behind")
        one.expect("Traceback" not in study.log.read_text(), study.log.read_text())
        one.expect(not [*one.temporary.iterdir()], f"left in $TMPDIR: {[*one.temporary.iterdir()]}")
        one.same_end()

    return play


def _study(one: Round) -> Study:
    return Study(command(*one.patterns.words), one.hurt.path, one.environment(), Tally(seed=0))


def _ask_doctor(one: Round) -> None:
    """Ask for a study that was killed: it is not clean where a run is RUNNING, and is after a repair."""
    ((n_running,),) = rows(one.hurt.path / "mlflow.db", _RUNNING)
    one.doctor(1 if n_running else None, *(["is RUNNING in MLflow"] if n_running else []))
    if one.rng.random() < 0.5:
        one.doctor(0 if n_running else None, fix=True)


def _begun(one: Round) -> subprocess.Popen[str]:
    """Start the study, and wait until another trial has ended."""
    n = n_told(one.hurt.path)
    process = one.begin("run", *one.patterns.words)
    _wait(lambda: n_told(one.hurt.path) > n or process.poll() is not None)
    return process


def _wait(condition: Callable[[], bool]) -> None:
    while not condition():
        time.sleep(0.05)


def _ended(one: Round, process: subprocess.Popen[str], code: int, *said: str) -> None:
    text, _ = process.communicate(timeout=600)
    one.started(process.returncode, text, code, *said)


def _second_start(one: Round) -> None:
    process = _begun(one)
    one.start(2, f"is running: process {process.pid} on ")
    one.doctor(2, f"is running: process {process.pid} on ")
    _ended(one, process, 0)
    one.same_end()


def _locked(one: Round) -> None:
    process = _begun(one)
    with locked(*(one.hurt.path / name for name in one.rng.sample(["mlflow.db", "optuna.db"], one.rng.randint(1, 2)))):
        _ended(one, process, 1, f"database is locked{_GOES_ON}")
    one.start()
    one.same_end()


def _data_changed_in_memory(one: Round) -> None:
    text, process = one.patterns.data.read_text(), _begun(one)
    one.patterns.data.write_text(text.replace("0.5", "0.6", 3))
    _ended(one, process, 0, "warning: the files of the data were written while the study ran")
    one.patterns.data.write_text(text)
    one.same_end()


def _data_changed_and_worker_killed(one: Round) -> None:
    text = one.patterns.data.read_text()
    with _study(one) as study:
        n = n_told(one.hurt.path)
        study.ensure_running()
        _wait(lambda: n_told(one.hurt.path) > n or study.process.poll() is not None)
        one.patterns.data.write_text(text.replace("0.5", "0.6", 3))
        for worker in study.workers():
            worker.kill()
        code = study.process.wait(timeout=600)
        one.started(code, study.log.read_text(), 1, f"data must be those of the study, .*{_GOES_ON}")
    one.patterns.data.write_text(text)
    one.start()
    one.same_end()


def _full_disk(one: Round) -> None:
    with _on_a_small_disk(one):
        process = _begun(one)
        ballast = fill(one.hurt.path)
        _ended(one, process, 1, f"{one.hurt.path}.*{_GOES_ON}")
        ballast.unlink()
        one.start()
        one.same_end()


def _full_disk_and_doctor(one: Round) -> None:
    """Repair damages on a full disk, which may not succeed, and once there is room."""
    with _on_a_small_disk(one):
        one.start()
        for harm, _ in (damages := one.rng.sample(REPAIRABLE["trials"], 3)):
            harm(one.hurt)
        ballast = fill(one.hurt.path)
        one.doctor(1, *(said for _, said in damages))
        one.doctor(1, fix=True)
        ballast.unlink()
        one.doctor(0, fix=True)
        one.same_end()


@contextlib.contextmanager
def _on_a_small_disk(one: Round) -> Iterator[None]:
    """Have the round's study on a disk of its own."""
    elsewhere = one.hurt.path.with_name("elsewhere")
    one.hurt.path.rename(elsewhere)
    with mounted(one.hurt.path, _SIZE):
        subprocess.run(["cp", "-a", f"{elsewhere}/.", one.hurt.path], check=True)
        yield


PLAYS: Mapping[str, Play] = {
    "kill: a worker": _killed("worker"),
    "kill: the coordinator": _killed("coordinator"),
    "kill: all at once": _killed("all at once"),
    "second start while it runs": _second_start,
    "database locked": _locked,
    "data changed, all in memory": _data_changed_in_memory,
    "data changed, worker renewed": _data_changed_and_worker_killed,
    **({"full disk": _full_disk, "full disk, and the doctor": _full_disk_and_doctor} if may_mount() else {}),
}
