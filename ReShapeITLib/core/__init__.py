"""What everything speaks of: errors, frames, labels, surfaces, organs, progress."""
