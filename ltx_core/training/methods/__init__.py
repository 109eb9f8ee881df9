"""Training methods: the contract (`method`), their options (`settings`, the registry), and a file for each."""
