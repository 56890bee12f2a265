"""Measures against ground truth (M1 to M6), and systems of known worth that try them."""
