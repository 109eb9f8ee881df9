import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.load import load_audio_vae, load_connectors, load_transformer, load_video_vae, load_vocoder
from ltx_core.checkpoint.model import Model
from ltx_core.checkpoint.source import open_model
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.hub.repository import path_or_repository
from ltx_core.io.digest import DigestMemo
from ltx_core.text.gemma import load_text_projection
from tests.upsampler import write_upsampler

pytestmark = pytest.mark.whole

FULL = {"device": "cpu", "dtype": torch.float32}
LOADERS = (load_transformer, load_connectors, load_video_vae, load_audio_vae, load_vocoder)


def opened(path: Path, flavour: str | None = None) -> Model:
    return open_model(path, flavour)


def values(load: Callable[..., Any], checkpoint: Model) -> dict[str, torch.Tensor]:
    return dict(load(checkpoint, **FULL).state_dict())


@pytest.mark.extra
def test_a_pack_is_one_model(pack: Path, whole: Path) -> None:
    checkpoint = opened(pack)
    assert (checkpoint.generation, checkpoint.gemma_version) == ("2.5", "gemma4-12b-ltx-v1")
    assert checkpoint.text_encoder is not None
    assert checkpoint.text_encoder.name == "gemma4-12b-with-proj-ltx-2.5-bf16.safetensors"
    combined = open_combined(whole)
    for load in (load_video_vae, load_audio_vae, load_vocoder):
        expected = values(load, combined)
        found = values(load, checkpoint)
        assert found.keys() == expected.keys()
        assert all(found[name].equal(expected[name]) for name in found)
    load_transformer(checkpoint, **FULL)
    load_connectors(checkpoint, **FULL)
    assert load_text_projection(checkpoint, **FULL).per_token_norm


def test_identities_do_not_depend_on_the_layout(pack: Path, whole: Path, memo: DigestMemo) -> None:
    split, combined = (checkpoint.identities(memo) for checkpoint in (opened(pack), open_combined(whole)))
    assert tuple(split) == COMPONENTS
    same = {name for name in split if split[name] == combined[name]}
    assert same == {"video_vae", "audio_vae", "vocoder"}


def test_a_files_name_means_nothing(pack: Path, memo: DigestMemo) -> None:
    before = opened(pack).identities(memo)
    for index, file in enumerate(sorted(pack.rglob("*.safetensors"))):
        file.rename(pack / f"{index}.safetensors")
    checkpoint = opened(pack)
    assert checkpoint.identities(memo) == before
    assert checkpoint.generation == "2.5"


def test_a_missing_file_is_named_by_its_component(pack: Path) -> None:
    next(pack.rglob("*video-vae*")).unlink()
    with pytest.raises(CheckpointError, match=r"pack lacks video_vae; .* or the folder of a whole pack"):
        opened(pack)


def test_two_transformers_need_a_flavour(pack: Path) -> None:
    dev = next(pack.rglob("*dev-transformer*"))
    shutil.copyfile(dev, dev.with_name("ltx-2.5-22b-distilled-transformer-bf16.safetensors"))
    with pytest.raises(CheckpointError, match=r"several files with a transformer: .*dev.*distilled.*Set the flavour"):
        opened(pack)
    stored = opened(pack, "2.5-distilled").stored["transformer"]
    assert {tensor.path.name for tensor in stored.values()} == {"ltx-2.5-22b-distilled-transformer-bf16.safetensors"}


def test_a_lora_and_an_upscaler_beside_do_not_matter(pack: Path) -> None:
    save_file({"diffusion_model.a.lora_A.weight": torch.zeros(1, 1)}, pack / "lora.safetensors")
    write_upsampler(pack / "ltx-2.5-latent-spatial-upscaler-x2-bf16-1.0.safetensors", 8)
    assert opened(pack).generation == "2.5"


def test_packed_text_encoders_have_identities(pack: Path, memo: DigestMemo) -> None:
    path = opened(pack).text_encoder
    assert path is not None
    before = open_text_encoder(path).identities(memo)
    tensors = load_file(path)
    tensors["tokenizer_json"][-2] += 1
    config = json.dumps({"model_type": "gemma4_unified", "text_config": {}})
    changed = path.with_name("changed.safetensors")
    save_file(tensors, changed, metadata={"gemma_config": config})
    after = open_text_encoder(changed).identities(memo)
    assert before["tokenizer"] != after["tokenizer"]
    assert before["text_encoder"] != after["text_encoder"]


@pytest.mark.extra
def test_a_diffusers_folder_is_the_same_model(folder: Path, whole: Path) -> None:
    checkpoint, combined = opened(folder, "2.3-dev"), open_combined(whole)
    assert checkpoint.generation == "2.3"
    for load in LOADERS:
        expected, found = values(load, combined), values(load, checkpoint)
        assert found.keys() == expected.keys()
        assert all(found[name].equal(expected[name]) for name in found)
    one, other = (load_transformer(opened, **FULL).config for opened in (checkpoint, combined))
    assert all(one[name] == other[name] for name in other if name not in ("_use_default_values", "vae_scale_factors"))
    assert tuple(one["vae_scale_factors"]) == other["vae_scale_factors"]
    assert load_vocoder(checkpoint, **FULL).vocoder.final_act_fn == load_vocoder(combined, **FULL).vocoder.final_act_fn
    video = load_text_projection(checkpoint, **FULL).video.weight
    assert video.equal(load_text_projection(combined, **FULL).video.weight)


def test_a_folder_says_how_sound_is_read(folder: Path, whole: Path) -> None:
    from ltx_core.autoencoder.audio import mel_config

    assert mel_config(opened(folder).config) == mel_config(open_combined(whole).config)


def test_a_folders_components_have_identities(folder: Path, memo: DigestMemo) -> None:
    before = opened(folder).identities(memo)
    assert tuple(before) == COMPONENTS
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    tensors["latents_mean"][0] += 1
    save_file(tensors, path, metadata={"format": "pt"})
    after = opened(folder).identities(memo)
    assert {name for name in before if before[name] != after[name]} == {"video_vae"}


def test_a_folder_without_a_component_names_it(folder: Path) -> None:
    shutil.rmtree(folder / "vocoder")
    with pytest.raises(CheckpointError, match="lacks the folders vocoder; a diffusers folder of LTX-2 with"):
        opened(folder)


def test_another_class_is_refused(folder: Path) -> None:
    path = folder / "vae" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "_class_name": "AutoencoderKLWan"}))
    with pytest.raises(CheckpointError, match="holds a AutoencoderKLWan; AutoencoderKLLTX2Video is wanted"):
        opened(folder)


def test_a_folder_with_a_tensor_less_is_refused(folder: Path) -> None:
    path = folder / "vae" / "diffusion_pytorch_model.safetensors"
    tensors = load_file(path)
    del tensors["latents_std"]
    save_file(tensors, path, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"the video_vae in .* lacks latents_std"):
        load_video_vae(opened(folder), **FULL)


def test_an_argument_that_diffusers_does_not_know_is_named(folder: Path) -> None:
    path = folder / "vae" / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "newer_option": 1}))
    with pytest.raises(CheckpointError, match="AutoencoderKLLTX2Video has newer_option, which this release"):
        load_video_vae(opened(folder), **FULL)


def test_a_flavour_of_another_generation_is_refused(whole: Path) -> None:
    assert opened(whole, "2.3").generation == "2.3"
    with pytest.raises(CheckpointError, match=r"is an LTX-2\.3 model and the flavour dev-fp8 is LTX-2\.0; set"):
        opened(whole, "dev-fp8")


def test_an_unknown_flavour_lists_the_known(whole: Path) -> None:
    with pytest.raises(ConfigError, match=r"flavour 'dve' is unknown; there are dev, dev-fp8, dev-fp4, 2\.3-dev"):
        opened(whole, "dve")


@pytest.mark.parametrize("location", ["/nowhere/at/all", "nowhere", "./a/b"])
def test_a_missing_path_is_no_repository(location: str) -> None:
    with pytest.raises(
        CheckpointError, match=r"does not exist; a combined \.safetensors file, a folder or a repository"
    ):
        open_model(path_or_repository(location))


def test_an_empty_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"has no \.safetensors file and no model_index\.json"):
        opened(tmp_path)
