"""What the panel of the ReShapeIT module is made of: tables, dialogs, proposals, sample data."""
