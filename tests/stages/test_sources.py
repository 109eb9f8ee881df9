"""The kinds of weights that people have, each through the stages that read them."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from ltx_core.checkpoint.flavours import published
from ltx_core.errors import CheckpointError, ConfigError
from ltx_core.io.digest import DigestMemo
from tasks.runtime.weights import open_model
from tests.layouts import GOLDEN, TEXT_ENCODER, write_diffusers, write_pack
from tests.loopback_hub import COMMIT, FakeHub, serving, settings
from tests.stages.bench import Bench, Results, computed, copied

pytestmark = pytest.mark.whole

WriteOnce = Callable[[str, Callable[[Path], object]], Path]
PACK, DIFFUSERS, FP8 = "Lightricks/LTX-2.5", "dg845/LTX-2.3-Diffusers", "Lightricks/LTX-2"
ENCODER = "google/gemma-3-tiny"


@pytest.fixture(scope="session")
def served(written_once: WriteOnce, model: Path) -> Path:
    """Models in all layouts, below the names that repositories have."""

    def write(root: Path) -> None:
        write_pack(root / PACK)
        write_diffusers(root / DIFFUSERS)
        copied(GOLDEN / "2.3" / "text_encoder", root / ENCODER)
        quantised = root / FP8 / "ltx-2-19b-dev-fp8.safetensors"
        write_fp8(model / "checkpoint.safetensors", quantised)
        copied(model / "gemma", quantised.with_name("text_encoder"))

    return written_once("served", write)


def write_fp8(source: Path, target: Path) -> None:
    """A copy with the transformer blocks' matrices in e4m3, a scale beside each."""
    with safe_open(source, "pt") as file:
        metadata = dict(file.metadata())
    tensors = load_file(source)
    for name in [name for name in tensors if ".transformer_blocks." in name and name.endswith(".weight")]:
        weight = tensors[name].float()
        if weight.ndim == 2:
            scale = weight.abs().max() / 448
            tensors[name] = (weight / scale).to(torch.float8_e4m3fn)
            tensors[f"{name}_scale"] = scale
    target.parent.mkdir(parents=True)
    save_file(tensors, target, metadata=metadata)


@pytest.fixture
def at(own: Bench) -> Callable[..., Bench]:
    """A bench on other weights, whose workspace knows the footage but has run nothing."""

    def on(checkpoint: Path | str, text_encoder: Path | str | None, **options: Any) -> Bench:
        return own.but(checkpoint=checkpoint, text_encoder=text_encoder).set(**options)

    return on


def trained(bench: Bench) -> Results:
    """Run all that reads weights but the renders; the LoRA has both steps."""
    made = bench.run("train_lora")
    assert made["train_lora"].summary.figures["steps"] == 2
    assert made["encode_latents"].summary.num_out == 5
    return made


def test_a_pack_brings_its_own_text_encoder(at: Callable[..., Bench], served: Path) -> None:
    bench = at(served / PACK, None)
    texts = trained(bench)["embed_text"]
    assert texts.summary.computed == texts.summary.num_out
    assert open_model(bench.config.model).text_encoder == served / PACK / TEXT_ENCODER


def test_a_diffusers_folder(at: Callable[..., Bench], served: Path) -> None:
    folder = served / DIFFUSERS
    made = trained(at(folder, served / ENCODER, model__flavour="2.3-dev"))
    assert made["encode_latents"].summary.computed == 5


def test_an_fp8_file_with_the_text_encoder_beside_it(
    at: Callable[..., Bench], served: Path, results: Results, finished: Bench, tmp_path: Path
) -> None:
    bench = at(served / FP8 / "ltx-2-19b-dev-fp8.safetensors", None, model__flavour="dev-fp8")
    made = trained(bench)
    assert computed(made) == computed(made) | {"embed_text": 0, "encode_latents": 0, "train_lora": 5}
    assert made["train_lora"].run.decided.key != results["train_lora"].run.decided.key
    memo = DigestMemo(tmp_path / "digests.parquet")
    fp8, bf16 = (open_model(one.config.model).identities(memo) for one in (bench, finished))
    assert {name for name in bf16 if fp8[name] != bf16[name]} == {"transformer"}, "only its blocks are other bytes"


def test_the_vaes_latents_are_the_same_whatever_file_they_came_in(at: Callable[..., Bench], served: Path) -> None:
    """The pack's autoencoders are those of the combined 2.3 file: nothing is encoded again."""
    bench = at(GOLDEN / "2.3" / "checkpoint.safetensors", served / ENCODER)
    first = bench.run("encode_latents")["encode_latents"]
    again = bench.but(checkpoint=served / PACK, text_encoder=None).run("encode_latents")
    assert again["encode_latents"].run.decided.key == first.run.decided.key
    assert not again["encode_latents"].built
    assert again["embed_text"].built


@pytest.mark.extra
def test_a_file_replaced_in_place_is_read_again(at: Callable[..., Bench], served: Path, tmp_path: Path) -> None:
    folder = copied(served / PACK, tmp_path / "pack")
    bench = at(folder, None)
    before = bench.run("encode_latents")["encode_latents"]
    vae = next(folder.rglob("*video-vae*"))
    with safe_open(vae, "pt") as file:
        metadata = dict(file.metadata())
    tensors = {name: tensor.float() for name, tensor in load_file(vae).items()}
    tensors["per_channel_statistics.mean-of-means"] += 1
    save_file(tensors, vae, metadata=metadata)  # longer, so that every tensor lies elsewhere in it
    after = bench.run("encode_latents")["encode_latents"]
    opened = open_model(bench.config.model).stored["video_vae"]
    assert {stored.dtype for stored in opened.values()} == {"F32"}
    assert after.run.decided.key != before.run.decided.key
    assert after.summary.computed == 5


def test_no_text_encoder_anywhere_says_what_to_set(at: Callable[..., Bench], served: Path) -> None:
    with pytest.raises(ConfigError, match=r"model\.text_encoder is not set and .*Diffusers has none .*Gemma 3 12B"):
        at(served / DIFFUSERS, None).run()


def test_files_of_another_generation_than_the_flavour(at: Callable[..., Bench], served: Path) -> None:
    with pytest.raises(CheckpointError, match=r"LTX-2\.5 model and the flavour dev-fp8 is LTX-2\.0"):
        at(served / PACK, None, model__flavour="dev-fp8").run()


HUB = """
import json, os, sys
from pathlib import Path
from flows.plan import downloads, plan
from flows.plan import select
from ltx_core.progress import Silent
from tasks.runtime.weights import open_model, prepare_weights
from tests.stages.bench import Bench

class Told(Silent):
    lines = []
    def advance(self, done, total, unit):
        self.lines.append([done, total, unit])

def answer(command):
    if command == "plan":
        everything = select(None, None, False)
        pending = downloads(bench.config, everything)
        planned = {one.stage.name: one.why for one in plan(bench.config, everything, pending)}
        return [[[file.repository, file.name, file.size] for file in pending], planned]
    if command == "cached":
        return [path.name for path in Path(os.environ["HF_HOME"]).glob("hub/*/snapshots/**/*") if path.is_file()]
    if command == "pin":
        return prepare_weights(bench.config.model).model_dump(mode="json")
    if command == "open":
        return str(open_model(bench.config.model).path)
    results = bench.run("train_lora", downloading=Told())
    built = [name for name, result in results.items() if result.built]
    return [Told.lines, built, {name: result.run.decided.key for name, result in results.items()}]

commands, *case = json.loads(sys.argv[1])
bench = Bench(*map(Path, case[:1]), *case[1:3], Path(case[3]), case[4])
print(json.dumps([answer(command) for command in commands.split()]))
"""

Ask = Callable[..., Any]


@pytest.fixture
def ask(served: Path, own: Bench, tmp_path: Path) -> Iterator[Ask]:
    """Plan, run and so on in a process of its own, whose hub is the one on loopback, and whose cache begins empty; an
    answer to each of the commands, or the error that it ends with."""
    with serving(served) as endpoint:

        def answer(commands: str, checkpoint: str, encoder: str | None, options: Any = None, **more: str) -> Any:
            case = [commands, str(own.footage), checkpoint, encoder, str(own.workspace), options or {}]
            done = subprocess.run(
                [sys.executable, "-c", HUB, json.dumps(case)],
                env=settings(endpoint, tmp_path / "home", **more),
                capture_output=True,
                text=True,
                check=False,
            )
            return json.loads(done.stdout) if done.returncode == 0 else done.stderr.splitlines()[-1]

        yield answer


@pytest.mark.extra
def test_a_repository_is_planned_then_downloaded_then_asked_no_more(ask: Ask, served: Path, tmp_path: Path) -> None:
    (pending, planned), cached, (told, built, keys) = ask("plan cached run", DIFFUSERS, ENCODER)
    assert set(cached) == {"config.json", "model_index.json"}
    size = (served / DIFFUSERS / "vae" / "diffusion_pytorch_model.safetensors").stat().st_size
    assert [DIFFUSERS, "vae/diffusion_pytorch_model.safetensors", size] in pending
    assert {name for repository, name, _ in pending if repository == ENCODER} >= {"model.safetensors"}
    assert planned["embed_text"] == "after split"
    assert built == ["probe", "split", "embed_text", "encode_latents", "train_lora"]
    assert told
    assert all(0 <= done <= total and unit.startswith("MiB of ") for done, total, unit in told)

    (pending, planned), pinned = ask("plan pin", DIFFUSERS, ENCODER)
    assert pending == []
    assert planned["train_lora"] == "unchanged"
    assert pinned["revision"] == COMMIT, "whatever main becomes meanwhile, all processes of a run read this"
    assert Path(pinned["text_encoder"]).is_relative_to(tmp_path / "home")
    unreachable = "http://127.0.0.1:9"
    (found,) = ask("open", DIFFUSERS, pinned["text_encoder"], {"model.revision": COMMIT}, HF_ENDPOINT=unreachable)
    assert Path(found).name == COMMIT
    ((_, *again),) = ask("run", DIFFUSERS, ENCODER, HF_HUB_OFFLINE="1")
    assert again == [[], keys]


def test_a_repositorys_flavour_with_the_text_encoder_in_it(ask: Ask, served: Path, own: Bench) -> None:
    chosen = {"model.flavour": "dev-fp8"}
    local = own.but(checkpoint=str(served / FP8 / "ltx-2-19b-dev-fp8.safetensors"), text_encoder=None, vision=None)
    local.run("train_lora")
    (pending, planned), (_, built, _) = ask("plan run", FP8, None, chosen)
    names = {name for _, name, _ in pending}
    assert {"ltx-2-19b-dev-fp8.safetensors", "text_encoder/model.safetensors"} <= names
    assert [planned[name] for name in ("split", "embed_text")] == ["unchanged", "after the download"]
    assert built == [], "the same bytes from the hub are the same weights"


@pytest.mark.extra
def test_a_pack_of_the_hub_in_one_commit(ask: Ask) -> None:
    FakeHub.asked.clear()
    ((_, built, _),) = ask("run", PACK, None)
    assert built[-1] == "train_lora"
    fetched = [path for path in FakeHub.asked if "/resolve/" in path and path.endswith(".safetensors")]
    assert {Path(path).name for path in fetched} == {Path(name).name for name in published("2.5").files}


def test_what_is_nowhere_on_the_hub_is_one_message(ask: Ask) -> None:
    assert "absent/model is not on the hub, or private. Check the name" in ask("plan", "absent/model", None)
