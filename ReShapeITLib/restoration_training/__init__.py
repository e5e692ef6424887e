"""Training the restoration network: cases, damaged copies, settings, the loop."""
