"""Pixels and sound to latents and back, normalised as the transformer wants them."""
