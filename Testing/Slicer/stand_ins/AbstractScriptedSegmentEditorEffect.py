"""Stand-in for the base of scripted effects."""

import slicer


class AbstractScriptedSegmentEditorEffect:
    """What the effects of scripts inherit."""

    def __init__(self, scriptedEffect):
        self.scriptedEffect = scriptedEffect

    def register(self):
        """Make the effect known to all editors."""
        slicer.qSlicerSegmentEditorEffectFactory.instance().registerEffect(self.scriptedEffect)

    def cleanup(self):
        """For subclasses."""
