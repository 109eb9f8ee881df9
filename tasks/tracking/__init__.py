"""Records of a run for MLflow and others, which are kept on disk while these cannot be reached."""
