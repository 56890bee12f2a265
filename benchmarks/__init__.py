"""What a reference costs: `python -m benchmarks`, see docs/performance.md."""
