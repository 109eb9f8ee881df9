"""A small model with the layout of LTX-2, and a world to film for it: what `ltx2-lora miniature` writes."""
