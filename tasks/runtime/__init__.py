"""How a stage is run: decided, started as processes on GPUs that are held for it, listened to, committed, collected."""
