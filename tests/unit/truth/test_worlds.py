"""The footage of the experiments is the same however often its making was ended."""

from pathlib import Path

from benchmarks.truth.worlds import World, write_world


def test_clips_that_are_missing_are_made_as_they_were(tmp_path: Path) -> None:
    world = World(has_concept=True, num_trained=3, num_held_out=1)
    write_world(world, tmp_path)
    made = {path: path.read_bytes() for path in sorted((tmp_path / "trained").iterdir())}
    for path in made:
        if "clip_00" not in path.name:
            path.unlink()
    write_world(world, tmp_path)
    assert {path: path.read_bytes() for path in sorted((tmp_path / "trained").iterdir())} == made
