"""Measuring personalised generation where the truth is known: probes, figures, statistics."""
