"""The composition root: command line, web app. Knows every room; no room knows it."""
