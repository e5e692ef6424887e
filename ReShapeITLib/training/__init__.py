"""From label volumes to an organ template: samples, joint optimisation of Eq. 7, checkpoints."""
