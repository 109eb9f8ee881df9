"""Training methods: contract (`method`), options (`settings`), classes by name (`registry`), and a file for each."""
