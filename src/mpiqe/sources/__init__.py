"""Finders of images, one for each kind of source; ``find`` puts them together.

A finder yields ``Photo``s without reading their bytes, which the reading threads do.
"""
