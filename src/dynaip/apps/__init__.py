"""Programs: what people start."""
