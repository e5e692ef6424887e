"""Damaged files by the thousand: made, read in a process that may die, and counted."""
