"""What a user says of single places: suggestions taken and left by hand, and points that are organ or not."""
