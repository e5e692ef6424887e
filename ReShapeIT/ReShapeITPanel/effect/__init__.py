"""What the Segment Editor effect *Anatomy* is made of."""
