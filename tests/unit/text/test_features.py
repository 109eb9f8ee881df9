import json
import shutil
from pathlib import Path

import pytest
import torch

from ltx_core.checkpoint.complete import check_fit
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError
from ltx_core.text.gemma import (
    TextEncoder,
    TextProjection,
    columns_by_layer,
    embed_text,
    load_text_projection,
    text_features,
)

FULL = {"device": "cpu", "dtype": torch.float32}


def identity(size: int) -> torch.nn.Linear:
    linear = torch.nn.Linear(size, size, bias=False)
    torch.nn.init.eye_(linear.weight)
    return linear


def test_captions_are_normalised_layer_by_layer_in_2_0() -> None:
    states = torch.tensor([[[0.0, 10.0]], [[1.0, 30.0]]])  # two tokens, one channel, two layers
    found = text_features(TextProjection(identity(2), None, per_token_norm=False), states)
    torch.testing.assert_close(found["features"], torch.tensor([[-4.0, -4.0], [4.0, 4.0]]), atol=1e-4, rtol=0)


def test_tokens_are_normalised_alone_and_scaled_to_the_width_in_2_3() -> None:
    torch.manual_seed(0)
    states = torch.randn(3, 4, 2) * 7
    projection = TextProjection(identity(8), torch.nn.Linear(8, 2), per_token_norm=True)
    found = text_features(projection, states)
    expected = states / states.square().mean(dim=1, keepdim=True).sqrt() * 2**0.5
    torch.testing.assert_close(found["video_features"], expected.flatten(1), atol=1e-4, rtol=1e-4)
    assert found["audio_features"].shape == (3, 2)
    assert text_features(projection, states[1:2])["video_features"].allclose(found["video_features"][1:2], atol=1e-6)


def test_stored_features_are_bfloat16_and_repeat(checkpoint: Model, encoder: TextEncoder) -> None:
    projection = load_text_projection(checkpoint, **FULL)
    features = embed_text(encoder, projection, "a robot dancing")
    names = {"features"} if checkpoint.generation == "2.0" else {"video_features", "audio_features"}
    assert features.keys() == names
    for name, value in features.items():
        assert value.dtype == torch.bfloat16
        assert len(value) == len(encoder.token_ids("a robot dancing"))
        assert value.equal(embed_text(encoder, projection, "a robot dancing")[name])


def test_columns_by_layer_give_the_same_features(checkpoint: Model, encoder: TextEncoder) -> None:
    projection = load_text_projection(checkpoint, **FULL)
    states = encoder.hidden_states("a robot dancing")
    ordered = columns_by_layer(projection, states.shape[2])
    right, found = text_features(projection, states), text_features(ordered, states, by_layer=True)
    assert found.keys() == right.keys()
    for name, value in right.items():
        torch.testing.assert_close(found[name], value, atol=1e-5, rtol=1e-5)
        assert not text_features(ordered, states)[name].allclose(value, atol=1e-2)


def test_an_encoder_of_the_right_width_fits(checkpoint: Model, folder: Path) -> None:
    check_fit(checkpoint, open_text_encoder(folder))


@pytest.mark.parametrize(("key", "value", "width"), [("num_hidden_layers", 5, 192), ("hidden_size", 64, 320)])
def test_an_encoder_of_another_width_is_refused(
    checkpoint: Model, folder: Path, tmp_path: Path, key: str, value: int, width: int
) -> None:
    copy = tmp_path / "gemma"
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text())
    config["text_config"][key] = value
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(CheckpointError, match=rf"= {width} values a token .*checkpoint\.safetensors takes 160\. Set"):
        check_fit(checkpoint, open_text_encoder(copy))


def test_an_incomplete_or_absent_folder_is_refused(checkpoint: Model, folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"is no folder; it would need config\.json"):
        check_fit(checkpoint, open_text_encoder(tmp_path / "nowhere"))
    copy = tmp_path / "gemma"
    shutil.copytree(folder, copy)
    (copy / "config.json").write_text("{")
    with pytest.raises(CheckpointError, match="cannot be read"):
        check_fit(checkpoint, open_text_encoder(copy))
