"""When stages run: Prefect flows and deployments, the run's configuration, the command line."""
