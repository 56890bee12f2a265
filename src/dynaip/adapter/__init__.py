"""The method: features, fusion, projection, attention and the conditioning value."""
