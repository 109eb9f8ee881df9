"""Samples: renders of a few prompts that `train_lora` makes from the weights that it trains."""
