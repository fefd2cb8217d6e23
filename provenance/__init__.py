"""Recipes, fingerprints, matches, verdicts, labels, audit. Imports none of the other rooms."""
