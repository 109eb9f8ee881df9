"""The stages, a file each, as `tasks.STAGES` lists them. Parts that several are made of lie in `parts`."""
