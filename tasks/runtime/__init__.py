"""Running a stage: deciding, starting it as processes on GPUs held for it, listening, committing, collecting."""
