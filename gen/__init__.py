"""From a recipe to a picture that may be shown."""
