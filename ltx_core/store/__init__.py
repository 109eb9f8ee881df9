"""The content-addressed store: tensors in tar shards with an index beside each, and JSON values in a file each."""
