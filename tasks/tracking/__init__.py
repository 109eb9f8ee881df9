"""What MLflow and others are told of a run, and how it is kept while they cannot be reached."""
