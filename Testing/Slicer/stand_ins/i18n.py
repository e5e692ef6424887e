"""Stand-in for ``slicer.i18n``: an application in English."""


def getContext(sourceFile):
    """Context of a source file in the translation files."""
    import os

    return os.path.splitext(os.path.basename(sourceFile))[0]


def translate(context, text):
    """The text itself."""
    return text


def tr(text):
    """The text itself."""
    return text
