"""What a process imports before it does anything: seconds that every stage, command and flow run would pay."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.whole

HEAVY = ("torch", "transformers", "diffusers", "peft", "mlflow", "huggingface_hub")

CHILD = "import tasks.runtime.child, tasks.runtime.execute, tasks.runtime.messages"
STAGES_WITHOUT_TORCH = (
    "import tasks.runtime.child, tasks.stages.split, tasks.tracking.mlflow, tasks.stages.register\n"
    "import ltx_core.media.split, ltx_core.media.clip, ltx_core.store.json_items, ltx_core.text.packing, mlflow"
)
GOLDEN = Path(__file__).parents[1] / "golden" / "2.3"
PLAN_FOR_A_CARD = f"""
import json, sys, tempfile
from pathlib import Path
from flows.cli.app import main
weights = {{"checkpoint": {str(GOLDEN / "checkpoint.safetensors")!r}, "text_encoder": {str(GOLDEN / "text_encoder")!r}}}
with tempfile.TemporaryDirectory() as name:
    folder = Path(name)
    (folder / "a.mp4").write_bytes(b"not looked into")
    config = {{"datasets": [{{"id": "clips", "instance_data_dir": name}}], "model": weights}}
    config |= {{"memory": {{"gpu_gib": 24}}, "prompts": {{"validation": ["A dog runs."]}}}}
    (folder / "run.json").write_text(json.dumps(config))
    if main(["plan", str(folder / "run.json")]):
        sys.exit("the plan failed")
"""
EMBEDDING_TEXT = "import tasks.stages.embed_text, ltx_core.text.gemma, ltx_core.text.assemble"
COMMANDS = "import flows.cli.app, flows.cli.run, flows.cli.server, flows.cli.start, flows.cli.workspace"
HELP = "from flows.cli.app import main\nmain(['--help'])"


@pytest.mark.parametrize(
    ("imports", "forbidden"),
    [
        (CHILD, (*HEAVY, "prefect")),
        (HELP, (*HEAVY, "prefect", "pydantic", "yaml", "rich", "pyarrow", "av", "numpy")),
        (COMMANDS, (*HEAVY, "prefect")),
        (PLAN_FOR_A_CARD, (*HEAVY, "prefect")),
        pytest.param(EMBEDDING_TEXT, ("diffusers", "peft", "mlflow", "prefect"), marks=pytest.mark.extra),
        (STAGES_WITHOUT_TORCH, ("torch", "transformers", "diffusers", "peft", "prefect")),
    ],
    ids=["any stage's child", "--help", "any command", "plan", "embed_text", "probe, split and register"],
)
def test_nothing_heavy_is_imported_early(imports: str, forbidden: tuple[str, ...]) -> None:
    ask = f"{imports}\nimport sys\nprint(*sorted({set(forbidden)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == ""
