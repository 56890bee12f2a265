"""The page and the HTTP API: orders are checked, queued, and made one at a time."""
