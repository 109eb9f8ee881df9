"""How the denoiser's blocks are computed: fused, quantised, recomputed, streamed, compiled. Never what they compute."""
