"""Several refined organs of one image: who has which voxel, and surfaces that say the same."""
