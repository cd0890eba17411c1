"""Data only: RADIUS dictionaries in the FreeRADIUS file format; `dictionary` is the index.

Every file begins with the documents its numbers come from. An operator's own `dictionary.*` file dropped into this
directory is read after the shipped ones.
"""
