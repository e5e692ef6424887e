"""Files between the scene and the engine: segments and image out, refined voxels, surfaces and report back."""
