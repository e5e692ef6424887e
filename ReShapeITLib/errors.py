"""What can go wrong, with the exit code the command line gives for it.

Every message is one sentence or two: what is wrong with which input, and what to do about it.
"""


class ReShapeITError(Exception):
    """Base of all errors that are told to the user without a traceback."""

    exit_code = 1


class BadInputError(ReShapeITError):
    """The input or the usage is wrong."""

    exit_code = 2


class ImplausibleError(ReShapeITError):
    """The input does not look like the organ of the template (``--force`` overrides)."""

    exit_code = 3


class CancelledError(ReShapeITError):
    """The user cancelled; nothing was written."""

    exit_code = 130
