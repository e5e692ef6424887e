"""Refinement of many files: ``cases`` says what, ``run`` hands it to dask workers, ``worker`` and ``case_process`` do
it, ``records`` keeps what is done, ``table`` tells."""
