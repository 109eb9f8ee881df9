"""Footage in and out: find it, probe it, decode it by presentation time, cut it into clips, write renders.

No module here needs torch. All times are seconds on one clock per file, which starts at its first video frame.
A change after which a file gives other frames, samples or times raises `DECODING` in tasks/runtime/stage.py.
"""
