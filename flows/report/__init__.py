"""The end of a run: its result in words and figures, its page, and what changed since the run before."""
