"""Review reports: what refinements changed, as one HTML file for people to look through."""
