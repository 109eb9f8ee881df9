"""The commands of `ltx2-lora`, one a file. To add one: write the file with a `run`, add its name and summary here.

Summaries are here and not in the files because `--help` shows them all, and importing all files takes a second.
"""

from flows.commands.command import Command

COMMANDS = (
    Command("miniature", "write a miniature model with footage and a configuration"),
    Command("configure", "ask a few questions and write a configuration"),
    Command("plan", "show what a run would do, and why"),
    Command("train", "train a LoRA from our configuration or SimpleTuner's"),
    Command("run", "run the pipeline in this terminal"),
    Command("up", "start the Prefect server, a worker and the MLflow UI"),
    Command("down", "stop what `up` started"),
    Command("announce", "announce new footage, which starts the deployment `retrain`"),
    Command("stages", "list the stages"),
    Command("gc", "delete data that none of the newest runs uses"),
    Command("verify", "check the digests, tensors and videos of a workspace"),
    Command("docs", "write the generated pages and prefect.yaml"),
)
