"""The model of a configuration is opened once a process, with its text encoder, and again when a file changed."""

import shutil
from pathlib import Path

from tasks.runtime.shared import ModelConfig
from tasks.runtime.weights import open_model

GOLDEN = Path(__file__).parents[2] / "golden" / "2.3"


def test_a_model_is_opened_once_and_again_when_a_file_changed(tmp_path: Path) -> None:
    checkpoint, encoder = tmp_path / "model.safetensors", tmp_path / "gemma"
    shutil.copyfile(GOLDEN / "checkpoint.safetensors", checkpoint)
    shutil.copytree(GOLDEN / "text_encoder", encoder)
    config = ModelConfig(checkpoint=str(checkpoint), text_encoder=str(encoder))
    first = open_model(config)
    assert first.text_encoder == encoder
    again = open_model(config)
    assert again is first
    assert again.encoder is first.encoder

    described = encoder / "config.json"
    described.write_text(described.read_text().replace('"gemma3"', '"gemma3" ', 1))
    other = open_model(config)
    assert other is not first
    assert other.stored is first.stored, "the model's own headers are not read again for its text encoder"

    shutil.copyfile(GOLDEN / "checkpoint.safetensors", tmp_path / "copy")
    (tmp_path / "copy").replace(checkpoint)
    assert open_model(config).stored is not first.stored
