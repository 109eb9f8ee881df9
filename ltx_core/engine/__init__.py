"""How the denoiser's blocks are computed: fused, quantised, recomputed, offloaded, compiled. Never what they
compute."""
