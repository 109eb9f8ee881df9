"""Optimizers of the adapter: AdamW in float32, in bfloat16 and with moments of 8 bits."""
