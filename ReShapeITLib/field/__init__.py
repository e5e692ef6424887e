"""The implicit model of section 3.1: SIREN layers, template and deformation field, hyper-network, losses."""
