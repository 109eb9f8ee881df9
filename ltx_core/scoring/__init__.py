"""How well renders fit their prompts, as other models see it."""
