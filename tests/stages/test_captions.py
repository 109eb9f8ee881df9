"""Variants of captions, trigger words and dropout by dataset, from the text file to the draw."""

import pytest

from ltx_core.errors import ConfigError
from ltx_core.training.samples import StoreSource
from tests.stages.bench import NUM_OTHER_TEXTS, SCENES, Bench, computed

pytestmark = pytest.mark.whole


def test_all_variants_are_embedded_and_an_edit_embeds_its_own_alone(own: Bench) -> None:
    texts = [own.footage / f"{scene}.txt" for scene in SCENES]
    texts[0].write_text("[trigger] bounces.\nA ball hits the floor.")
    bench = own.set(
        datasets__0__captions={"lines": "variants", "trigger": "Zubo", "dropout": 0.3},
        train_lora__steps=4,
    )
    results = bench.run("train_lora")
    assert computed(results)["embed_text"] == 2, "the others are known"
    assert len(list(results["embed_text"].manifest)) == len(SCENES) + 1 + NUM_OTHER_TEXTS
    assert computed(results)["encode_latents"] == 0
    source = StoreSource(results["encode_latents"].manifest, results["embed_text"].manifest, bench.workspace)
    by_clip = {sample.clip_id.partition(".")[0].partition("/")[2]: sample for sample in source.samples}
    assert (by_clip[SCENES[0]].caption, by_clip[SCENES[0]].variants) == ("Zubo bounces.", ("A ball hits the floor.",))
    assert {sample.caption_dropout for sample in source.samples} == {0.3}
    assert by_clip[SCENES[1]].variants == ()

    texts[0].write_text("[trigger] bounces.\nA ball falls.")
    again = computed(bench.but().run())
    assert again == {"probe": 0, "split": 0, "embed_text": 1, "encode_latents": 0}
    texts[0].write_text("A ball falls.")
    with pytest.raises(ConfigError, match="no caption has"):
        bench.set(datasets__0__captions={"trigger": "Zubo", "lines": "variants"}).run("probe")
