"""The training objective: noise levels, noisy latents, velocity targets, masked losses."""
