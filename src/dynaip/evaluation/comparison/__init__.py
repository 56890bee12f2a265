"""Methods side by side: their judged pictures, the paper's rows, tables."""
