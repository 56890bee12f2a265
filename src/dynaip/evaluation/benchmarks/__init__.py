"""Benchmarks: what is asked of a method, as a manifest, and what it answered, as a folder."""
