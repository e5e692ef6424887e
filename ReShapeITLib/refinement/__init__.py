"""From a given mask to the refined organ: plausibility, alignment, fit, blending, several organs together."""
