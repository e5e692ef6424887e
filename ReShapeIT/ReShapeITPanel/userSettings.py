"""What is kept for a user rather than with a scene, in the application's settings."""

NON_COMMERCIAL = "ReShapeIT/NonCommercialUseConfirmed"


class UserSettings:
    """Choices of the person who uses this application.

    :param settings: function to a QSettings, asked each time so that nothing is kept open.
    """

    def __init__(self, settings):
        self._settings = settings

    @property
    def nonCommercialUseConfirmed(self) -> bool:
        """The user said that templates of non-commercial licence are used non-commercially."""
        return str(self._settings().value(NON_COMMERCIAL)).lower() in ("true", "1")

    @nonCommercialUseConfirmed.setter
    def nonCommercialUseConfirmed(self, confirmed: bool) -> None:
        settings = self._settings()
        settings.setValue(NON_COMMERCIAL, "true" if confirmed else "false")
        settings.sync()
