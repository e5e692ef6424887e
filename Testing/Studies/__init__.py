"""Measurements on the development data, which need more time or files than tests may."""
