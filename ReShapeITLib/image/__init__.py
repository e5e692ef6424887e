"""What an image says about an organ: the third witness beside the given organ and the expected shape."""
