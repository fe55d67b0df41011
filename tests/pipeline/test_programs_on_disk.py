"""A folder of compiled programs that is damaged, full or gone costs a second, never a trial."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from depthcheck.pipeline.training.program_cache import (
    programs_folder,
    renew,
    session_folder,
    worker_environment,
)
from tests.others import NOBODY, needs_root


def test_the_folder_is_read_back_from_the_flags():
    folder = Path("/some where/programs")
    flags = worker_environment(folder)["TF_XLA_FLAGS"]
    assert programs_folder({"TF_XLA_FLAGS": flags}) == folder
    assert programs_folder({"TF_XLA_FLAGS": f"--tf_xla_auto_jit=2 {flags}"}) == folder
    assert programs_folder({"TF_XLA_FLAGS": "--tf_xla_auto_jit=2"}) is None
    assert programs_folder({}) is None


def test_renewing_removes_the_programs_and_leads_the_session_to_an_empty_folder(tmp_path: Path):
    cache = tmp_path / "cache" / "programs"
    way = session_folder(tmp_path, cache)
    (way / "xla_compile_cache__1.pb").write_text("cut")
    (way / "a users own file").write_text("stays")
    renew(way)
    assert [file.name for file in cache.iterdir()] == ["a users own file"]
    assert way.is_dir()
    assert not list(way.iterdir())
    assert way.resolve() != cache.resolve()
    renew(way)  # a second worker that met the same trouble
    assert way.is_dir()


def test_a_cache_that_cannot_be_made_is_done_without(tmp_path: Path):
    (tmp_path / "file").write_text("")
    way = session_folder(tmp_path, tmp_path / "file" / "programs")
    assert way.is_dir()
    assert not way.is_symlink()


def test_a_cache_that_is_kept_is_made_for_its_user_alone(tmp_path: Path):
    cache = tmp_path / "cache" / "programs"
    assert session_folder(tmp_path, cache).resolve() == cache
    assert cache.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("place", ["cache/programs", "cache"])
def test_a_cache_into_which_others_can_put_programs_is_not_used(tmp_path: Path, place: str):
    cache = tmp_path / "cache" / "programs"
    cache.mkdir(parents=True)
    (tmp_path / place).chmod(0o777)
    way = session_folder(tmp_path, cache)
    assert way.is_dir()
    assert not way.is_symlink()


@needs_root
def test_another_users_cache_is_not_used(tmp_path: Path):
    cache = tmp_path / "programs"
    cache.mkdir(mode=0o755)
    os.chown(cache, NOBODY, NOBODY)
    (tmp_path / "session").mkdir()
    assert not session_folder(tmp_path / "session", cache).is_symlink()


def said_by_a_process(code: str, session: Path, cache: Path) -> str:
    """Return what Python code prints last in a process with the environment of a worker."""
    session.mkdir()
    folders = [str(Path(__file__).parent), str(Path(__file__).parents[2])]
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={
            **os.environ,
            **worker_environment(session_folder(session, cache)),
            "PYTHONPATH": os.pathsep.join(folders),
        },
        check=True,
        capture_output=True,
        text=True,
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.slow
def test_new_process_takes_what_was_compiled_and_compiles_what_was_truncated_with_the_same_result(tmp_path: Path):
    """Whatever it has traced before, as workers that share out a study have."""
    cache = tmp_path / "cache"

    def trials(session: str, *optimizers: str) -> str:
        code = f"from test_fit import digest_of_a_trial as of; print(sorted((o, of(o)) for o in {optimizers}))"
        return said_by_a_process(code, tmp_path / session, cache)

    compiled = trials("first", "sgd", "adam")
    entries = set(cache.iterdir())
    assert len(entries) == 2
    assert trials("second", "adam", "sgd") == compiled
    assert set(cache.iterdir()) == entries
    for entry in entries:
        os.truncate(entry, entry.stat().st_size // 2)
    assert trials("third", "sgd", "adam") == compiled
    assert not list(cache.iterdir()), "the damaged entries are still there"


@pytest.mark.slow
def test_what_differs_in_values_widths_and_batch_sizes_is_compiled_once(tmp_path: Path):
    """XLA compiles a traced program again where it takes a number of the call for a constant, and tells nobody."""
    cache = tmp_path / "cache"
    code = "from test_fit import train_many_of_a_kind; print(train_many_of_a_kind())"
    assert said_by_a_process(code, tmp_path / "session", cache) == "1"
    assert len(list(cache.iterdir())) == 1
