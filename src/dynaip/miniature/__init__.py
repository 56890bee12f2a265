"""The miniature: a rendered world (Toyland) and a FLUX-class model of it that a laptop trains."""
