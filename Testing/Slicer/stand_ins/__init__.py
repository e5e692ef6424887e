"""Stand-ins for the parts of Slicer's own Python that no package brings, for where there is no checkout of Slicer.

They keep Slicer's signatures and the behaviour that this extension can meet; ``Testing/Slicer/test_slicer_contract.py``
compares both where there is a checkout. Written from Slicer's documented behaviour, not from its code.
"""
