"""LoRA on the transformer: which layers, how they start, and files that other programs load."""
