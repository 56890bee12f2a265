"""A user study: blind pairs of pictures, votes, and what they say."""
