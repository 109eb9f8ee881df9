"""A tensor that is missing, unknown or misshapen is found from headers, in every component and layout."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint.complete import check_model, check_text_encoder
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.source import open_model
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError
from tests.layouts import GOLDEN

pytestmark = pytest.mark.whole

Tensors = dict[str, torch.Tensor]
Changed = Callable[[Callable[[Tensors, dict[str, str]], None]], Path]
ONE_OF_EACH = {
    "transformer": "model.diffusion_model.transformer_blocks.1.attn2.to_gate_logits.weight",
    "connectors": "model.diffusion_model.audio_embeddings_connector.learnable_registers",
    "text_projection": "text_embedding_projection.audio_aggregate_embed.bias",
    "video_vae": "vae.per_channel_statistics.std-of-means",
    "audio_vae": "audio_vae.decoder.conv_out.conv.weight",
    "vocoder": "vocoder.vocoder.conv_pre.weight",
}
each_component = pytest.mark.parametrize(("component", "name"), ONE_OF_EACH.items(), ids=ONE_OF_EACH)


@pytest.mark.parametrize("generation", ["2.0", "2.3", "2.5"])
def test_what_is_whole_passes(generation: str) -> None:
    check_model(open_combined(GOLDEN / generation / "checkpoint.safetensors", components=()))


def test_other_layouts_that_are_whole_pass(layouts: Path) -> None:
    for name in ("pack", "diffusers"):
        checkpoint = open_model(layouts / name)
        assert len(checkpoint.stored) == 6
        check_model(checkpoint)


@each_component
def test_a_missing_tensor(changed: Changed, component: str, name: str) -> None:
    path = changed(lambda tensors, _: tensors.__delitem__(name))
    with pytest.raises(CheckpointError, match=rf"the {component} in \S+ lacks \S+ \(names in the module\)\. Give"):
        check_model(open_combined(path))


@each_component
def test_a_misshapen_tensor(changed: Changed, component: str, name: str) -> None:
    path = changed(lambda tensors, _: tensors.__setitem__(name, torch.zeros(3, 5)))
    with pytest.raises(CheckpointError, match=rf"the {component} in .* its config says: \S+ \[3, 5\] for \["):
        check_model(open_combined(path))


@each_component
def test_an_unknown_tensor(changed: Changed, component: str, name: str) -> None:
    path = changed(lambda tensors, _: tensors.__setitem__(f"{name}.more", torch.zeros(1)))
    with pytest.raises(CheckpointError, match=rf"the {component} in \S+ has unknown \S+\.more"):
        check_model(open_combined(path))


def test_all_faults_are_one_message_with_their_number(changed: Changed) -> None:
    def spoil(tensors: Tensors, _: dict[str, str]) -> None:
        for name in [name for name in tensors if ".transformer_blocks.0.attn1." in name]:
            del tensors[name]
        tensors["vocoder.vocoder.more"] = torch.zeros(1)

    with pytest.raises(CheckpointError) as told:
        check_model(open_combined(changed(spoil)))
    assert re.search(
        r"the transformer in \S+ lacks (transformer_blocks\.0\.attn1\.\S+, ){4}\S+ and 7 more;", str(told.value)
    )
    assert "; the vocoder in" in str(told.value)
    assert str(told.value).count("Give the files") == 1


def test_a_shard_of_a_diffusers_folder_that_holds_less(folder: Path) -> None:
    shard = sorted((folder / "transformer").glob("*.safetensors"))[0]
    tensors = load_file(shard)
    gone = sorted(tensors)[0]
    del tensors[gone]
    save_file(tensors, shard)
    with pytest.raises(CheckpointError, match=f"the transformer in .* lacks {gone}"):
        check_model(open_model(folder))


def test_a_file_of_a_pack_that_holds_less(pack: Path) -> None:
    path = pack / "vae" / "ltx-2.5-audio-vae-bf16.safetensors"
    tensors = load_file(path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    del tensors["audio_vae.encoder.conv_in.conv.bias"]
    save_file(tensors, path, metadata=metadata)
    with pytest.raises(CheckpointError, match=r"the audio_vae in .* lacks encoder\.conv_in\.conv\.bias"):
        check_model(open_model(pack))


@pytest.mark.parametrize(
    ("section", "value"),
    [({"num_layers": "two"}, "two"), ({"num_attention_heads": None}, "None"), ({"ff_bias": []}, "")],
)
def test_a_config_that_no_model_can_have(changed: Changed, section: dict[str, object], value: str) -> None:
    def spoil(_: Tensors, metadata: dict[str, str]) -> None:
        config = json.loads(metadata["config"])
        metadata["config"] = json.dumps({**config, "transformer": {**config["transformer"], **section}})

    with pytest.raises(CheckpointError, match=r"a config that no model can have|lacks|has unknown"):
        check_model(open_combined(changed(spoil)))


def test_a_text_encoder_with_other_tensors(gemma: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(gemma, tmp_path / "gemma"))
    check_text_encoder(open_text_encoder(copy))
    weights = load_file(copy / "model.safetensors")
    name = next(name for name in weights if name.endswith("layers.2.mlp.up_proj.weight"))
    for tensors, told in (
        ({key: value for key, value in weights.items() if key != name}, r"lacks layers\.2\.mlp\.up_proj\.weight"),
        ({**weights, name: weights[name][:-1].clone()}, r"layers\.2\.mlp\.up_proj\.weight \[63, 32\] for \[64, 32\]"),
        ({**weights, f"{name}.more": torch.zeros(1)}, r"has unknown layers\.2\.mlp\.up_proj\.weight\.more"),
    ):
        save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(CheckpointError, match=rf"the text encoder in .* {told}"):
            check_text_encoder(open_text_encoder(copy))


def test_a_text_encoder_whose_config_says_too_little(gemma: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(gemma, tmp_path / "gemma"))
    config = json.loads((copy / "config.json").read_text())
    del config["text_config"]["num_hidden_layers"]
    (copy / "config.json").write_text(json.dumps(config))
    assert open_text_encoder(copy).size("hidden_size") == 32
    with pytest.raises(
        CheckpointError, match="has None for num_hidden_layers of its text model; a whole number is wanted"
    ):
        open_text_encoder(copy).size("num_hidden_layers")


def test_a_packed_text_encoder() -> None:
    check_text_encoder(open_text_encoder(GOLDEN / "2.5" / "text_encoder.safetensors"))


def test_the_stored_dtype_is_that_of_the_flavour(changed: Changed, whole: Path) -> None:
    def quantise(tensors: Tensors, _: dict[str, str]) -> None:
        name = "model.diffusion_model.transformer_blocks.0.attn1.to_q.weight"
        tensors[name] = tensors[name].to(torch.float8_e4m3fn)

    assert open_model(whole, "2.3-dev").generation == "2.3"
    with pytest.raises(CheckpointError, match=r"stored unquantised and the flavour 2\.3-dev-fp8 is fp8; set"):
        open_model(whole, "2.3-dev-fp8")
    quantised = str(changed(quantise))
    assert open_model(Path(quantised), "2.3-dev-fp8").generation == "2.3"
    with pytest.raises(CheckpointError, match=r"stored in fp8 and the flavour 2\.3-dev is unquantised; set"):
        open_model(Path(quantised), "2.3-dev")
