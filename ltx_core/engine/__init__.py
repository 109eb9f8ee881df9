"""Execution of the denoiser's blocks: fused, quantised, recomputed, offloaded, compiled. It never changes what they
compute."""
