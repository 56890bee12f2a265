"""Frozen base models: where an adapter sits in them, and how it comes off again."""
