"""Several processes that train one LoRA, a GPU each: who they are, what they tell each other, how weights are cut."""
