"""Files that are whole or absent, digests that are computed once, locks the kernel frees."""
