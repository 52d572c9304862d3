"""Benchmarks: our full stack beside what people would pick instead. `make bench` runs them; no test does."""
