"""Device memory: what each part of the pipeline takes, and the fastest way that it can run within a budget."""
