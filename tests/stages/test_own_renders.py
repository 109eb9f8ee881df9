"""A workspace's own renders never become its footage, wherever the folders lie."""

import shutil
from pathlib import Path

import pytest

from ltx_core.errors import DataError
from tests.stages.bench import SCENES, Bench, Results, copied

pytestmark = pytest.mark.whole


def names(results: Results) -> list[str]:
    return [row.relpath for row in results["probe"].manifest]


FILES = sorted(f"{scene}.mp4" for scene in SCENES)


@pytest.mark.parametrize("where", ["workspace", "deep/er/output", "."])
def test_a_workspace_inside_the_footage_is_left_out_and_said(where: str, own: Bench, results: Results) -> None:
    inside = own.but(workspace=own.footage / where)
    copied_into(own, inside.workspace)
    again = inside.run("probe")["probe"]
    assert names({"probe": again}) == FILES
    assert again.manifest.digest != results["probe"].manifest.digest  # another path, and nothing else is another
    assert [row.media_key for row in again.manifest] == [row.media_key for row in results["probe"].manifest]
    told = [note for note in inside.progress.told if "is a workspace; its renders and caches are not taken" in note]
    assert len(told) == 1
    assert str(inside.workspace.resolve()) in told[0]


def test_another_workspace_inside_the_footage_is_left_out_too(own: Bench) -> None:
    """A demo, or the output of another configuration."""
    copied_into(own, own.footage / "demo")
    assert names(own.run("probe", force="probe")) == FILES
    assert [note for note in own.progress.told if f"{own.footage / 'demo'} is a workspace" in note]


def test_the_footage_may_lie_in_the_workspace(own: Bench) -> None:
    outer = own.but(footage=copied(own.footage, own.workspace / "footage"))
    assert names(outer.run("probe")) == FILES
    assert names(outer.run("probe")) == FILES


def test_a_link_to_a_render_is_no_footage(own: Bench) -> None:
    copied_into(own, own.footage.parent / "elsewhere")
    render = next((own.footage.parent / "elsewhere").rglob("pool/renders/*.mp4"))
    (own.footage / "linked.mp4").symlink_to(render)
    (own.footage / "linked.txt").write_text("A link.")
    assert names(own.run("probe")) == FILES


@pytest.mark.parametrize("option", ["instance_data_dir", "mask_dir", "audio.audio_dir", "reference.reference_dir"])
@pytest.mark.parametrize("linked", [False, True], ids=["named", "linked"])
def test_footage_among_the_renders_is_refused(option: str, linked: bool, own: Bench, tmp_path: Path) -> None:
    copied_into(own, tmp_path / "w")
    renders = tmp_path / "w" / "pool" / "renders"
    if linked:
        (tmp_path / "link").symlink_to(renders)
    wrong = own.but(options={f"datasets.0.{option}": str(tmp_path / "link" if linked else renders)})
    with pytest.raises(DataError, match=rf"'set': {option} .*pool/renders lies in the workspace .*folder outside"):
        wrong.run("probe")


def copied_into(own: Bench, workspace: Path) -> None:
    """A workspace with renders at a place."""
    own.run("probe")
    shutil.copytree(
        own.workspace, workspace, dirs_exist_ok=True, ignore=shutil.ignore_patterns("latest.json", "manifest.parquet")
    )
