"""Models as files: where they are, what is in them, whether they are whole, and how they become modules."""
