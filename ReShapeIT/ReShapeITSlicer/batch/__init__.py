"""Batches of the ``reshapeit batch`` command: running one, its results table, showing one of its organs."""
