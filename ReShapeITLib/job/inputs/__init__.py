"""What a job reads beside label files: meshes."""
