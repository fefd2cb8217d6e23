"""The bundled text-to-image model: its weights, its model card and the scripts that made it."""
