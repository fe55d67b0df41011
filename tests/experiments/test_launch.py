"""The embedded cluster: workers that die or grow are replaced, and nobody takes more memory than there is."""

import contextlib
import os
import resource
import time

import pytest
from distributed import KilledWorker

from experiments import launch
from experiments.preload import bound_memory
from experiments.renewal import Renewal

pytestmark = pytest.mark.slow


def _pid():
    return os.getpid()


def _nap():
    time.sleep(3)
    return os.getpid()


def _limits():
    return resource.getrlimit(resource.RLIMIT_DATA)[0]


def _tighten():
    resource.setrlimit(resource.RLIMIT_DATA, (2**40, 2**40))
    bound_memory(2**50)
    return resource.getrlimit(resource.RLIMIT_DATA)


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with launch.embedded(1, tmp_path_factory.mktemp("programs")) as client:
        yield client


def test_worker_that_has_grown_is_replaced_between_two_trials(client):
    renewal = Renewal(client, growth_bytes=-1)
    first = client.submit(_pid, pure=False)
    old = first.result()
    assert renewal.after(first)
    new = client.submit(_pid, pure=False).result()
    assert new != old


def test_worker_with_another_trial_is_not_replaced(client):
    renewal = Renewal(client, growth_bytes=-1)
    first, second = client.submit(_pid, pure=False, priority=1), client.submit(_nap, pure=False)
    old = first.result()
    while not any(client.processing().values()):  # the scheduler may still be handing the second one to the worker
        assert not second.done()
    assert not renewal.after(first)
    assert second.result() == old


def test_worker_that_has_not_grown_stays(client):
    renewal = Renewal(client)
    first = client.submit(_pid, pure=False)
    first.result()
    assert not renewal.after(first)


def test_worker_may_not_take_more_memory_than_there_is(client):
    assert 0 < client.submit(_limits, pure=False).result() < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_tighter_limit_of_the_user_stays(client):
    assert client.submit(_tighten, pure=False).result() == (2**40, 2**40)


def test_worker_that_dies_while_it_starts_is_replaced(client):
    for delay in (0.0, 0.5):
        nanny = next(iter(client.cluster.workers.values()))
        old = nanny.pid
        os.kill(old, 9)
        while nanny.pid in (None, old):
            time.sleep(0.01)
        time.sleep(delay)
        killed = nanny.pid
        os.kill(killed, 9)
        assert _answer(client) not in (old, killed)


def _answer(client):
    """Ask again, as a study does, where the scheduler has not yet heard of a death and asks the dead."""
    while True:
        with contextlib.suppress(KilledWorker):
            return client.submit(_pid, pure=False).result()
