"""The commands of `ltx2-lora`, one a file. To add one: write the file with a `run`, add its name and summary here.

Summaries are here and not in the files because `--help` shows them all, and importing all files takes a second.
"""

from flows.commands.command import Command

COMMANDS = (
    Command("miniature", "write a toy model, footage and configuration"),
    Command("configure", "ask a few questions and write a configuration"),
    Command("plan", "say what a run would do and why"),
    Command("train", "train a LoRA from a configuration, ours or the guide's"),
    Command("run", "run the pipeline in this terminal"),
    Command("up", "start Prefect server, worker and MLflow UI"),
    Command("down", "end what `up` started"),
    Command("announce", "say that footage was added"),
    Command("stages", "list the stages"),
    Command("gc", "delete what no kept run refers to"),
    Command("verify", "check a workspace: digests, tensors, videos"),
    Command("docs", "write the generated docs and prefect.yaml"),
)
