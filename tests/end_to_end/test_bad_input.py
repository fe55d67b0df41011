"""Bad input: one clear line, exit code 2, nothing written."""

import os

import pytest

SMALL = """
[budget]
trials = 5
epochs = 1
[compare]
optimizer = ["sgd", "adam"]
[tune]
learning_rate = { low = 1e-3, high = 1e-1, log = true }
[fixed]
depth = 1
units = 4
activation = "relu"
batch_size = 16
"""


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--trials", "abc"], "error: trials must be a whole number of at least 1, got 'abc'"),
        (["--trials", "0"], "error: trials must be a whole number of at least 1, got '0'"),
        (["--epochs", "-1"], "error: epochs must be a whole number of at least 1, got '-1'"),
        (["--workers", "0"], "error: workers must be a whole number of at least 1, got '0'"),
        (["--seed", "1.5"], "error: seed must be a whole number of at least 0, got '1.5'"),
        (["--experiment", "digit"], "did you mean 'digits'?"),
        (["--experiment", "/no/such.toml"], "error: experiment must be one of any, convolutions, digits"),
        (["--scheduler", "localhost"], "error: scheduler must be an address like tls://host:8786, got 'localhost'"),
        (["--data-folder", "/no/such/folder", "--experiment", "fashion_mnist"], "/no/such/folder"),
        (["--study", "a/b"], "error: study must be of letters, digits, dots, dashes and underscores, got 'a/b'"),
        (["--widen", "unit:up"], "got 'unit'; did you mean 'units'?"),
        (["--widen", "units:wide"], "error: widen must be NAME:up or NAME:down, with commas between, got 'units:wide'"),
        (["--trialss", "5"], "No such option '--trialss'. Did you mean '--trials'?"),
    ],
)
def test_bad_input_is_one_line_and_writes_nothing(folder, here, words, line):
    asked = [*(["--experiment", "digits"] if "--experiment" not in words else []), *words]
    done = here(folder.path, "run", *asked, HOME=str(folder.home))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert line in done.stderr
    assert not list(folder.path.iterdir())


def test_wrong_definition_is_one_line_with_its_file(folder, here):
    path = folder.path / "mine.toml"
    path.write_text("[data]\nname = 'digits'\n[budget]\ntrials = 5\nepochs = 1\n[compare]\noptimizer = ['sdg']\n")
    done = here(folder.path, "run", "--experiment", str(path), HOME=str(folder.home))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert "mine.toml: compare.optimizer[0] must be one of sgd" in done.stderr
    assert [item.name for item in folder.path.iterdir()] == ["mine.toml"]


def test_table_that_trains_on_nothing_is_one_line_and_nothing_is_written(folder, here):
    rows = "".join(f"{n >= 48},{n % 7 if n >= 48 else 3},{'ab'[n % 2]}\n" for n in range(60))
    (folder.path / "t.csv").write_text("held,x,y\n" + rows)
    path = folder.path / "mine.toml"
    path.write_text('[data]\nname = "t.csv"\ntarget = "y"\ntest_column = "held"\n[split]\nfolds = 0\n' + SMALL)
    done = here(folder.path, "run", "--experiment", str(path), HOME=str(folder.home))
    assert done.returncode == 2, done
    assert done.stderr == ("error: columns with two different values in the training part must be at least 1, got 0\n")
    assert {item.name for item in folder.path.iterdir()} == {"mine.toml", "t.csv"}


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_unwritable_folder_is_one_line(folder, here):
    folder.path.chmod(0o500)
    done = here(folder.path, "run", "--experiment", "digits", HOME=str(folder.home))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done
    assert "must be a folder that can be written to" in done.stderr


def test_folder_that_is_a_file_is_one_line(folder, here):
    (folder.path / "blocked").write_text("")
    storage = f"sqlite:///{folder.path}/blocked/optuna.db"
    done = here(folder.path, "run", "--experiment", "digits", "--storage", storage, HOME=str(folder.home))
    assert done.returncode == 2, done
    assert "storage must be a URL that Optuna can open" in done.stderr


@pytest.mark.parametrize(
    "storage",
    [
        "nonsense",
        "sqlite3",
        "sqlite:optuna.db",
        "sqlite:/optuna.db",
        "sqlite://host:abc/optuna.db",
        "sqlite://",
        "sqlite:///file:shared.db?uri=true",
    ],
)
def test_storage_that_is_neither_file_nor_server_is_one_line(folder, here, storage):
    done = here(folder.path, "run", "--experiment", "digits", "--storage", storage, HOME=str(folder.home))
    what = "storage must be a URL that Optuna can open, of a file or a server"
    assert (done.returncode, done.stdout, done.stderr) == (2, "", f"error: {what}, got {storage!r}\n")
    assert "Traceback" not in done.stderr
