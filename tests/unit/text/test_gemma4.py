"""LTX-2.5's text encoder: Lightricks' own Gemma 4 in one packed file."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint.complete import check_fit
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError
from ltx_core.text.gemma import embed_text, load_gemma, load_text_projection

GOLDEN = Path(__file__).parents[2] / "golden"
FULL = {"device": "cpu", "dtype": torch.float32}
TEXT = "a robot dancing"

Tensors = dict[str, torch.Tensor]
Change = Callable[[Tensors, dict[str, Any]], None]
Changed = Callable[[Change], Path]


def opened(generation: str) -> Model:
    return open_combined(GOLDEN / generation / "checkpoint.safetensors", components=("text_projection",))


@pytest.fixture
def packed() -> Path:
    return GOLDEN / "2.5" / "text_encoder.safetensors"


@pytest.fixture
def changed(packed: Path, tmp_path: Path) -> Changed:
    """Write a copy of the packed file after `change` had its tensors and Gemma config in hand."""

    def write(change: Change) -> Path:
        with safe_open(packed, "pt") as file:
            config = json.loads(file.metadata()["gemma_config"])
        tensors = load_file(packed)
        change(tensors, config)
        path = tmp_path / "packed.safetensors"
        save_file(tensors, path, metadata={"gemma_config": json.dumps(config)})
        return path

    return write


def test_one_bos_is_added_to_what_the_tokenizer_gives(packed: Path) -> None:
    encoder = load_gemma(open_text_encoder(packed), **FULL)
    alone = encoder.tokenizer(TEXT)["input_ids"]
    assert encoder.tokenizer.bos_token_id not in alone
    assert encoder.token_ids(f"  {TEXT}\n") == [encoder.tokenizer.bos_token_id, *alone]


def test_it_is_frozen_and_of_one_dtype(packed: Path) -> None:
    model = load_gemma(open_text_encoder(packed), device="cpu", dtype=torch.bfloat16).model
    assert {(parameter.dtype, parameter.requires_grad) for parameter in model.parameters()} == {(torch.bfloat16, False)}
    assert not model.training


def test_its_features_are_those_of_2_5(packed: Path) -> None:
    encoder, projection = load_gemma(open_text_encoder(packed), **FULL), load_text_projection(opened("2.5"), **FULL)
    features = embed_text(encoder, projection, TEXT)
    assert {name: value.shape[1] for name, value in features.items()} == {"video_features": 32, "audio_features": 16}
    assert len(features["video_features"]) == len(encoder.token_ids(TEXT))


def test_the_layout_of_a_hugging_face_folder_is_read_too(packed: Path, changed: Changed) -> None:
    def rename(tensors: Tensors, config: dict[str, Any]) -> None:
        for name in [name for name in tensors if name.startswith("model.")]:
            tensors[name.replace("model.", "model.language_model.", 1)] = tensors.pop(name)

    renamed = load_gemma(open_text_encoder(changed(rename)), **FULL)
    assert renamed.hidden_states(TEXT).equal(load_gemma(open_text_encoder(packed), **FULL).hidden_states(TEXT))


def test_image_and_sound_towers_are_left_where_they_are(changed: Changed) -> None:
    towers = ("model.vision_embedder.a", "model.embed_vision.b", "model.embed_audio.c", "audio_projector.d")
    path = changed(lambda tensors, config: tensors.update({name: torch.zeros(2) for name in towers}))
    assert not any(
        "vision" in name or "audio" in name for name in load_gemma(open_text_encoder(path), **FULL).model.state_dict()
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.__delitem__("model.norm.weight"), r"text encoder in .* lacks norm\.weight"),
        (lambda t: t.update({"model.layers.0.more": torch.zeros(1)}), r"has unknown layers\.0\.more"),
        (lambda t: t.update({"model.norm.weight": torch.zeros(3)}), r"norm\.weight \[3\] for \[32\]"),
        (lambda t: t.__delitem__("tokenizer_json"), r"no packed text encoder: it lacks .*`tokenizer_json`"),
        (lambda t: t.update(tokenizer_json=torch.zeros(9, dtype=torch.uint8)), "tokenizer inside .* is damaged"),
    ],
    ids=["missing", "unknown", "misshapen", "no tokenizer", "broken tokenizer"],
)
def test_what_does_not_fit_is_named(changed: Changed, change: Callable[[Tensors], None], message: str) -> None:
    path = changed(lambda tensors, config: change(tensors))
    with pytest.raises(CheckpointError, match=message):
        load_gemma(open_text_encoder(path), **FULL)


def test_a_model_is_no_text_encoder() -> None:
    with pytest.raises(CheckpointError, match=r"is no packed text encoder: .* or the folder of Gemma 3"):
        load_gemma(open_text_encoder(GOLDEN / "2.5" / "checkpoint.safetensors"), **FULL)


def test_the_right_encoder_fits(packed: Path) -> None:
    check_fit(opened("2.5"), open_text_encoder(packed))


def test_gemma_3_does_not_fit_2_5(folder: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"holds gemma3, version of Google; the LTX-2\.5 .*gemma4-12b-ltx-v1.*pack"
    ):
        check_fit(opened("2.5"), open_text_encoder(folder))


@pytest.mark.parametrize("version", [None, "gemma4-12b-ltx-v2"])
def test_another_gemma_4_does_not_fit_2_5(changed: Changed, version: str | None) -> None:
    path = changed(lambda tensors, config: config.update(gemma_version=version))
    with pytest.raises(
        CheckpointError, match=rf"gemma4_unified, version {version or 'of Google'}; .*gemma4-12b-ltx-v1"
    ):
        check_fit(opened("2.5"), open_text_encoder(path))


@pytest.mark.parametrize("generation", ["2.0", "2.3"])
def test_the_encoder_of_2_5_fits_no_earlier_model(packed: Path, generation: str) -> None:
    with pytest.raises(CheckpointError, match=r"gemma4-12b-ltx-v1; the LTX-2\.[03] .*with gemma3, version of Google"):
        check_fit(opened(generation), open_text_encoder(packed))


def test_another_width_is_refused(changed: Changed) -> None:
    path = changed(lambda tensors, config: config["text_config"].update(num_hidden_layers=5))
    with pytest.raises(
        CheckpointError, match=r"= 192 values a token .* takes 160\. Set `text_encoder` to the text encod"
    ):
        check_fit(opened("2.5"), open_text_encoder(path))


def test_a_model_that_names_no_gemma_wants_one_of_lightricks(packed: Path, changed: Changed, tmp_path: Path) -> None:
    source = GOLDEN / "2.5" / "checkpoint.safetensors"
    with safe_open(source, "pt") as file:
        metadata = {name: value for name, value in file.metadata().items() if name != "gemma_source_checkpoint"}
    save_file(load_file(source), tmp_path / "silent.safetensors", metadata=metadata)
    checkpoint = open_combined(tmp_path / "silent.safetensors", components=("text_projection",))
    check_fit(checkpoint, open_text_encoder(packed))
    path = changed(lambda tensors, config: config.pop("gemma_version"))
    with pytest.raises(CheckpointError, match="version one of Lightricks' own"):
        check_fit(checkpoint, open_text_encoder(path))
