"""The study's lock, where somebody has put something else in its place."""

import os

import pytest

from depthcheck.experiments.places import Place, held, lock_file
from tests.others import NOBODY, needs_root


def place(folder):
    return Place.of(f"sqlite:///{folder}/mlflow.db", None)


def _refused(folder):
    expected = "the study's lock must be a file of yours that can be written"
    with pytest.raises(ValueError, match=expected) as trouble, held(place(folder), "mine"):
        pass
    return str(trouble.value)


def test_lock_is_held_once_and_can_be_taken_again(tmp_path):
    for _ in range(2):
        with (
            held(place(tmp_path), "mine"),
            pytest.raises(ValueError, match=f"running: process {os.getpid()} on"),
            held(place(tmp_path), "mine"),
        ):
            pass
    assert lock_file(tmp_path, "mine").stat().st_mode & 0o777 == 0o600


def test_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(lock_file(tmp_path, "mine"))
    assert _refused(tmp_path).endswith("(no file)")


@pytest.mark.parametrize("exists", [True, False])
def test_link_is_not_followed(tmp_path, exists):
    target = tmp_path / "precious"
    if exists:
        target.write_text("precious")
    lock_file(tmp_path, "mine").symlink_to(target)
    assert _refused(tmp_path).endswith("(a link)")
    assert (target.read_text() if exists else target.exists()) == ("precious" if exists else False)


@needs_root
def test_file_of_another_user_is_left_alone(tmp_path):
    path = lock_file(tmp_path, "mine")
    path.write_text("theirs")
    os.chown(path, NOBODY, NOBODY)
    assert _refused(tmp_path).endswith("(another user's)")
    assert path.read_text() == "theirs"
