import pytest

from experiments.addresses import without_password
from experiments.command_line import complain


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("postgresql+psycopg://me:s3cret@db.example:5432/optuna", "postgresql+psycopg://me:***@db.example:5432/optuna"),
        ("http://me:p%40ss@host, and mysql://you:other@host/x", "http://me:***@host, and mysql://you:***@host/x"),
        ("postgresql://me@server/runs", "postgresql://me@server/runs"),
        ("sqlite:////home/me/mlflow.db", "sqlite:////home/me/mlflow.db"),
        ("tcp://127.0.0.1:8786 for me@example", "tcp://127.0.0.1:8786 for me@example"),
    ],
)
def test_addresses_lose_their_password_and_nothing_else(text, shown):
    assert without_password(text) == shown


def test_no_complaint_tells_a_password(capsys):
    complain(ValueError("cannot reach postgresql://me:s3cret@host/x"))
    assert capsys.readouterr().err == "error: cannot reach postgresql://me:***@host/x\n"
