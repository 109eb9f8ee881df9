"""Training methods: the contract (`method`), the list of them (`registry`), and one file for each."""
