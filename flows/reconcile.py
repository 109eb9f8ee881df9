"""Mark runs whose process is gone as crashed, so that they can be retried."""

from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.exceptions import ObjectNotFound
from prefect.states import Crashed

from flows.processes import dead_runs, forget


def crash_dead_runs(client: SyncPrefectClient) -> list[str]:
    """Names of the runs that were marked."""
    marked = []
    for run_id in dead_runs():
        try:
            run = client.read_flow_run(UUID(run_id))
        except ObjectNotFound:  # of another server, or deleted
            forget(run_id)
            continue
        if run.state is not None and not run.state.is_final():
            client.set_flow_run_state(run.id, Crashed(message="its process is gone"), force=True)
            marked.append(run.name)
        forget(run_id)
    return marked
