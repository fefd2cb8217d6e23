"""Local features, and the second look at a pair of pictures."""
