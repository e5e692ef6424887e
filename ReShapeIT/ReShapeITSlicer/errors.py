"""The one kind of error that this package raises for its users."""


class RefinementError(Exception):
    """Its text is one sentence for the user: what is wrong with what, and what to do. The scene is unchanged.

    :param code: says which error it is where somebody may want to know, see ``wording``; empty elsewhere.
    """

    def __init__(self, message: str = "", code: str = ""):
        super().__init__(message)
        self.code = code
