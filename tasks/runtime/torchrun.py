"""`torchrun ... -m tasks.runtime.torchrun REQUEST`: train on several machines; start it on each.

The flow, asked for `memory.num_nodes` above 1, leaves the request in the stage's folder and says this command. Rank 0
locks the folder, reports and commits the stage, so the flow, run again, finds it done. torchrun ends all ranks when one
fails. Every machine must see the workspace, and the weights, under the same paths.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ltx_core.errors import ConfigError
from ltx_core.io.json_file import read_json, write_json
from tasks.runtime.child import guarded
from tasks.runtime.messages import Reporter, log_to_stderr

if TYPE_CHECKING:
    from tasks.runtime.stage import StageRun


REQUEST_FILE = "request.json"


def refuse_several_nodes(run: "StageRun[Any]", request: Path) -> None:
    """Several machines cannot be started from one: leave the request, and say what to start on each.

    Raises:
        ConfigError: `memory.num_nodes` is above 1 and torchrun did not start this process.
    """
    memory = run.shared.memory
    if memory.num_nodes == 1 or not run.stage.has_ranks or "RANK" in os.environ:
        return
    kept = run.out / REQUEST_FILE
    write_json(kept, read_json(request), indent=2, private=True)  # its digest names the file
    each = memory.num_gpus if memory.num_gpus != "auto" else "GPUS"
    raise ConfigError(
        f"memory.num_nodes is {memory.num_nodes}: start this on every machine, with its number 0 to "
        f"{memory.num_nodes - 1} as NODE and the first one's address as HEAD, then run the flow again:\n"
        f"torchrun --nnodes {memory.num_nodes} --node-rank NODE --nproc-per-node {each} --master-addr HEAD "
        f"--master-port 29500 -m tasks.runtime.torchrun {kept}"
    )


def work(request: Path, reporter: Reporter) -> None:
    """Do the stage as the rank that the environment names."""
    from tasks.runtime.execute import execute
    from tasks.runtime.messages import read_request
    from tasks.runtime.ranks import follow

    if os.environ["RANK"] == "0":
        execute(read_request(request, reporter))
    else:
        follow(request, reporter)


def main() -> None:
    """Entry point of each rank; events go to standard output as JSON lines."""
    reporter = Reporter(os.dup(1) if os.environ["RANK"] == "0" else os.open(os.devnull, os.O_WRONLY))
    log_to_stderr()
    reporter.listen_for_stop()
    code = guarded(lambda: work(Path(sys.argv[1]), reporter), reporter)
    os._exit(code)  # no interpreter teardown: worker threads of libraries may hang in it


if __name__ == "__main__":
    main()
