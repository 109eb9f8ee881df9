"""Lightricks' combined checkpoint files: what is in them, whether they fit, and how they become diffusers modules."""
