"""Benchmark scripts run one after another in one process, which loads torch, diffusers and transformers once."""

import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[3]


def run_scripts(scripts: Mapping[str, Sequence[str]], out: Path, *, first: str = "", after_each: str = "") -> str:
    """Run each at toy size with its words, appending to a file of its name in `out`; gives what they printed.

    `first` and `after_each` are statements of that process.
    """
    commands = [
        [f"benchmarks/{name}.py", "--tiny", "--out", str(out / name), *words] for name, words in scripts.items()
    ]
    program = f"""
import json, runpy, sys
{first}
for words in json.loads(sys.argv[1]):
    sys.argv = words
    try:
        runpy.run_path(words[0], run_name="__main__")
    except SystemExit as ended:
        if ended.code:
            raise
    {after_each or "pass"}
"""
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps(commands)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
