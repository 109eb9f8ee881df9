"""The services behind `ltx2-lora up`, Prefect's server and worker and MLflow's page: started, watched, and ended."""
