"""Suggestions, their probabilities, and the rule that takes them."""
