"""The content-addressed pool: immutable WebDataset shards with Parquet indexes, and small JSON items."""
