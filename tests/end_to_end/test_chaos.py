"""A study that is killed again and again is the study that nobody killed. The long form: ``make bench BENCH=chaos``."""

import os
import secrets

import pytest
from chaos import attempts, command, plan_kills, report_text, run_under_kills

pytestmark = pytest.mark.slow

N_KILLS = 3


def test_kills_at_random_moments_change_nothing(undisturbed, folder, here, tiny):
    seed = int(os.environ.get("CHAOS_SEED") or secrets.randbelow(10**6))
    print(f"seed of the kills: CHAOS_SEED={seed}")  # noqa: T201 - pytest shows it when the test fails
    kills = plan_kills(seed, N_KILLS, len(undisturbed.study().trials))
    words = command("--experiment", tiny, "--workers", "2")
    tally = run_under_kills(words, folder.path, folder.environment(), kills, seed)
    assert tally.kills.total() == N_KILLS, tally.output
    assert tally.gave_up == [], tally.output
    assert tally.left_behind == []
    assert folder.fingerprint() == undisturbed.fingerprint()
    assert report_text(folder.path) == report_text(undisturbed.path)
    ended, _ = attempts(folder.uri, folder.study().user_attrs["parent_run_id"])
    assert set(ended.values()) == {1}
    done = here(folder.path, "doctor", HOME=str(folder.home))
    assert done.returncode == 0, done
