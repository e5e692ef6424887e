"""From files to files: one job of one or several organs, its report and licences, the demo."""
