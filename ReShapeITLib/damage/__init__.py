"""Damage as segmentations really have it, made on purpose: on voxels and on the canonical grid."""
