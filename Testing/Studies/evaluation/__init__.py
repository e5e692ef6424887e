"""Studies: cases x families of input x methods, measured with all six metrics.

``study``   what a YAML file says     ``inputs``  the masks that the methods are given
``rows``    the table on disk         ``run``     measuring, in parallel and resumable
``table``   statistics and files      ``plots``   charts
``worst``   pictures of single cases  ``report``  everything in one page
"""
