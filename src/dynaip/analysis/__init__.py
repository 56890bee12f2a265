"""Looking inside: attention maps, router coefficients, figures."""
