"""A network that has seen damaged organs and their truth: what of a given segmentation is to be believed.

The template's field knows organs but no damage; this network knows damage. It works on a coarse grid in the template's
frame, so one network serves all organs whose templates were there when it was trained.
"""
