"""Pairs from real pictures."""
