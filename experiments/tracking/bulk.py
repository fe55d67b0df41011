"""Questions about many runs at once, which MlflowClient asks one page, one run or one curve at a time."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

_PAGE = 1000
_ENDPOINT = "/ajax-api/2.0/mlflow/metrics/get-history-bulk"
#: The most runs that a tracking server takes in one question, and the most points that it gives in one answer.
MAX_BULK_RUNS, MAX_BULK_POINTS = 100, 25_000


def search(
    api: MlflowClient, experiment_ids: Sequence[str], condition: str, *, deleted_too: bool = False
) -> Iterator[Run]:
    """Yield every run that fulfils the condition, page after page."""
    from mlflow.entities import ViewType

    view, token = ViewType.ALL if deleted_too else ViewType.ACTIVE_ONLY, None
    while True:
        page = api.search_runs(list(experiment_ids), condition, view, max_results=_PAGE, page_token=token)
        yield from page
        token = page.token
        if not token:
            return


def metric_points(api: MlflowClient, run_ids: Sequence[str], key: str) -> Iterator[tuple[str, int, float]]:
    """Yield (run id, step, value) of one metric of up to ``MAX_BULK_RUNS`` runs, as one question where possible.

    50 runs of 6 curves are 6 questions instead of 300. MLflow has the question for its own user interface: as a method
    of its SQL stores and as a route of its server, not of its client. Where neither is found, curves are read singly.
    """
    store: Any = api._tracking_client.store
    if hasattr(store, "get_metric_history_bulk"):
        for found in store.get_metric_history_bulk(list(run_ids), key, MAX_BULK_POINTS):
            yield found.run_id, found.step, found.value
        return
    points = _from_server(store, run_ids, key) if len(run_ids) > 1 and hasattr(store, "get_host_creds") else None
    if points is not None:
        yield from points
        return
    for run_id in run_ids:
        for metric in api.get_metric_history(run_id, key):
            yield run_id, metric.step, metric.value


def _from_server(store: Any, run_ids: Sequence[str], key: str) -> list[tuple[str, int, float]] | None:
    """Ask the route of the server's user interface; None where the server has none."""
    from mlflow.utils.rest_utils import http_request

    response = http_request(  # type: ignore[no-untyped-call]
        store.get_host_creds(),
        _ENDPOINT,
        "GET",
        params={"run_id": list(run_ids), "metric_key": key, "max_results": MAX_BULK_POINTS},
    )
    if response.status_code != 200:
        return None
    return [(point["run_id"], int(point["step"]), float(point["value"])) for point in response.json()["metrics"]]
