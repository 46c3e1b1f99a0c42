"""The kinds of places that photos come from. ``mpiqe.sources.find`` puts them together.

Everything here hands out names and plain positions (archive, offset, size); bytes are fetched by whoever reads them.
"""
