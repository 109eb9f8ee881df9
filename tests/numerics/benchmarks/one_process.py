"""Benchmark scripts run one after another in one process, which loads torch, diffusers and transformers once: processes
that a script starts are forks of it.
"""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]
FORKS = """
import os, runpy, subprocess, sys, traceback

def main(words):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        return ended.code or 0
    return 0

def forked(command, *, env, stdout, text, check=False):
    assert command[0] == sys.executable and stdout == subprocess.PIPE and text
    sys.stdout.flush()
    out, into = os.pipe()
    child = os.fork()
    if not child:
        os.dup2(into, 1)
        os.environ |= env
        code = 1
        try:
            code = main(command[1:])
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(code)
    os.close(into)
    with os.fdopen(out) as pipe:
        printed = pipe.read()
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert not (check and code), command
    return subprocess.CompletedProcess(command, code, printed)

subprocess.run = forked
"""
"""`subprocess.run` of a Python script, as the scripts call it, without loading everything anew."""


def run_scripts(scripts: Mapping[str, Sequence[str]], out: Path, *, first: str = "", after_each: str = "") -> str:
    """Run each at toy size with its words, appending to a file of its name in `out`; gives what they printed.

    `first` and `after_each` are statements of that process.
    """
    commands = [
        [f"benchmarks/{name}.py", "--tiny", "--out", str(out / name), *words] for name, words in scripts.items()
    ]
    program = f"""
import json
{FORKS}
{first}
for words in json.loads(sys.argv[1]):
    assert main(words) == 0, words
    {after_each or "pass"}
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
