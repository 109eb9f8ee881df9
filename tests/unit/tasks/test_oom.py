"""Where the kernel counts the processes that it ended for want of memory."""

from pathlib import Path

import pytest

from ltx_core import process as oom


@pytest.mark.parametrize(
    ("groups", "files", "kills"),
    [
        (
            "0::/a/b\n",
            {"a/b/memory.events": "oom 4\noom_kill 3\noom_group_kill 0\n", "memory.events": "oom_kill 9\n"},
            3,
        ),
        ("0::/not/seen/from/inside\n", {"memory.events": "oom 4\noom_kill 2\n"}, 2),
        ("5:cpu:/x\n4:memory:/y\n0::/\n", {"memory/y/memory.oom_control": "under_oom 0\noom_kill 5\n"}, 5),
        ("4:cpu,memory:/y\n", {"memory/memory.oom_control": "oom_kill_disable 0\noom_kill 6\n"}, 6),
        ("0::/\n", {"vmstat": "nr_free_pages 1\noom_kill 7\n"}, 7),
        ("0::/\n", {"vmstat": "nr_free_pages 1\n"}, None),
        ("", {}, None),
    ],
)
def test_where_the_kernel_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, groups: str, files: dict[str, str], kills: int | None
) -> None:
    """The files as version 1 and 2 of control groups, and machines without them, have them."""
    (tmp_path / "own").write_text(groups)
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    for name, place in (("CONTROL_GROUPS", "."), ("OWN_GROUPS", "own"), ("MACHINE", "vmstat")):
        monkeypatch.setattr(oom, name, tmp_path / place)
    assert oom.oom_kills() == kills
