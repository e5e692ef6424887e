"""Pieces of label maps: what they look like, to which organ they belong, which came or went."""
