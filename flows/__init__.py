"""When stages run: Prefect flows and deployments, the run's configuration, the command line."""

import os

NO_TELEMETRY = {
    "DO_NOT_TRACK": "1",  # Prefect's and the hub's clients; not "true", which MLflow would take as said to it too
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
}
"""Nothing about how this is used leaves the machine, unless the user set one of these to something else."""

# Here, because those libraries look when they are imported, and every process of ours imports this package before them.
for _name, _value in NO_TELEMETRY.items():
    os.environ.setdefault(_name, _value)
