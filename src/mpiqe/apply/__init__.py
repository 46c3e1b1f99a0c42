"""Carry out decisions about photos: move, copy, link, or rate in XMP sidecars. A journal undoes it."""
