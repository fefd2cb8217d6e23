"""References on disk, searchable."""
