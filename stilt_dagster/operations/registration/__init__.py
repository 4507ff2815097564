"""Which scenes there are: adding one, with its spec and partition, and deleting it, with its files."""
