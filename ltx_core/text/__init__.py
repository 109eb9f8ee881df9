"""From a caption to what the transformer attends to: Gemma, features, contexts."""
