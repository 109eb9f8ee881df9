"""Training a LoRA: what is drawn, what a step does, what survives a kill."""
