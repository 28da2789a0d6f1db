"""See ``python -m benchmarks.paper_table --help``."""
