"""What a process imports before it does anything: seconds that every stage, command and flow run would pay."""

import subprocess
import sys

import pytest

pytestmark = pytest.mark.whole

HEAVY = ("torch", "transformers", "diffusers", "peft", "mlflow", "huggingface_hub")

CHILD = "import tasks.child, tasks.execute, tasks.request"
STAGES_WITHOUT_TORCH = (
    "import tasks.child, tasks.execute, tasks.contact_sheets, tasks.tracking, tasks.register, tasks.model_card\n"
    "import ltx_core.media.split, ltx_core.media.clip, ltx_core.pool.items, ltx_core.text.fit, mlflow"
)
EMBEDDING_TEXT = (
    "import tasks.embed_text, ltx_core.text.features, ltx_core.text.compiled, ltx_core.checkpoint.text_projection"
)
COMMANDS = "import flows.cli, flows.commands, flows.plan, flows.config"


@pytest.mark.parametrize(
    ("imports", "forbidden"),
    [
        (CHILD, (*HEAVY, "prefect")),
        (COMMANDS, (*HEAVY, "prefect")),
        (EMBEDDING_TEXT, ("diffusers", "peft", "mlflow", "prefect")),
        (STAGES_WITHOUT_TORCH, ("torch", "transformers", "diffusers", "peft", "prefect")),
    ],
    ids=["any stage's child", "any command", "embed_text", "probe, split and register"],
)
def test_nothing_heavy_is_imported_early(imports: str, forbidden: tuple[str, ...]) -> None:
    ask = f"{imports}\nimport sys\nprint(*sorted({set(forbidden)!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", ask], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
