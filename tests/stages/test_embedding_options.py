"""How texts are embedded: each option does what it says, in the stage."""

from pathlib import Path

import pytest
import torch

from ltx_core.store.features import stored_features
from ltx_core.store.tensor_items import ShardReader
from tests.stages.bench import Bench, Results

pytestmark = pytest.mark.whole


def embedded(finished: Bench, folder: Path, **options: object) -> tuple[Bench, Results]:
    bench = finished.but(workspace=folder).set(**options)
    return bench, bench.run("embed_text")


def features(bench: Bench, results: Results) -> dict[str, torch.Tensor]:
    reader, rows = ShardReader(bench.workspace), list(results["embed_text"].manifest)
    samples = {row.text: stored_features(reader.read(row.shard, row.offset, row.size, row.sha256)) for row in rows}
    return {text: sample["features"].float() for text, sample in samples.items()}


def test_streamed_features_are_the_same_bits(finished: Bench, results: Results, tmp_path: Path) -> None:
    bench, found = embedded(finished, tmp_path / "workspace", memory__stream_text_encoder=True)
    assert any("copied from host memory one by one" in note for note in bench.progress.told)
    assert found["embed_text"].manifest.digest == results["embed_text"].manifest.digest
    assert not any("from host memory" in note for note in finished.progress.told)


def test_larger_packs_change_no_more_than_rounding(finished: Bench, results: Results, tmp_path: Path) -> None:
    bench, found = embedded(finished, tmp_path / "workspace", embed_text__pack_tokens=1024)
    assert found["embed_text"].run.decided.key == results["embed_text"].run.decided.key
    right = features(finished, results)
    for text, value in features(bench, found).items():
        torch.testing.assert_close(value, right[text], atol=2e-2, rtol=1e-2)


def test_int8_is_another_encoder_with_near_features(finished: Bench, results: Results, tmp_path: Path) -> None:
    bench, found = embedded(finished, tmp_path / "workspace", embed_text__dtype="int8")
    keys = [{row.text_key for row in made["embed_text"].manifest} for made in (found, results)]
    assert keys[0].isdisjoint(keys[1])
    right = features(finished, results)
    half = features(*embedded(finished, tmp_path / "half", embed_text__dtype="bf16"))
    for text, value in features(bench, found).items():
        assert (value - right[text]).norm() / right[text].norm() < 0.1
        assert not value.equal(half[text]), "products are in bfloat16, weights are not"


def test_stored_features_are_what_training_reads(finished: Bench, results: Results) -> None:
    from ltx_core.training.samples import StoreSource

    rows = list(results["embed_text"].manifest)
    source = StoreSource(results["encode_latents"].manifest, rows, finished.workspace)
    for row in rows:
        (value,) = source.text(row.text).values()
        assert value.dtype == torch.bfloat16
        assert len(value) == row.num_tokens


def test_compiled_is_what_runs(finished: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The compiler itself is left out: it takes a while on a CPU."""
    compiled: list[torch.nn.Module] = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda module, **_options: compiled.append(module))
    embedded(finished, tmp_path / "workspace", embed_text__compile=True)
    assert compiled
