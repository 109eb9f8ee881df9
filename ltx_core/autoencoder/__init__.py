"""Pixels and audio to latents and back, normalised as the transformer wants them.

A change after which the same input gives other numbers raises `AUTOENCODERS` in tasks/runtime/stage.py.
"""
