"""The stage `render_validation` in parts: its options, its renders, their phases on the GPU, what is kept."""
