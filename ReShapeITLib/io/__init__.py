"""Files and nothing else: label volumes, surfaces, weights, settings, downloads."""
