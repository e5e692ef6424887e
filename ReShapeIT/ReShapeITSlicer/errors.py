"""The one kind of error that this package raises for its users."""


class RefinementError(Exception):
    """Its text is one sentence for the user: what is wrong with what, and what to do. The scene is unchanged."""
