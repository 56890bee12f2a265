"""What the tests of judges share; see `judged`."""

from judged import results, server

__all__ = ["results", "server"]
