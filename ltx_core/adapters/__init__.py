"""Adapters on linear layers of the transformer: plain LoRA and LyCORIS, where they go, and their files."""
