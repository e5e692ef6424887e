"""Pictures of the Slicer side, drawn by Slicer's own views and a real Qt without the application."""
