"""The commands of `ltx2-lora`, one a file. To add one: write the file with a COMMAND, add it here."""

from flows.commands import (
    announce,
    configure,
    docs,
    down,
    gc,
    miniature,
    plan,
    run,
    stages,
    train,
    up,
    verify,
)
from flows.commands.command import Command

COMMANDS: tuple[Command, ...] = (
    miniature.COMMAND,
    configure.COMMAND,
    plan.COMMAND,
    train.COMMAND,
    run.COMMAND,
    up.COMMAND,
    down.COMMAND,
    announce.COMMAND,
    stages.COMMAND,
    gc.COMMAND,
    verify.COMMAND,
    docs.COMMAND,
)
