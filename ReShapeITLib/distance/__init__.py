"""Between masks, signed distances and surfaces: grids, smoothing, slices, coarse voxels, the narrow band."""
