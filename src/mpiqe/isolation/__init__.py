"""Decoding in child processes, so that an image or a table that crashes, hangs or floods costs its own rows.

``pool`` is for images, ``table_process`` for Parquet tables. The children are ``image_child`` and ``table_child``, both
built on ``child``; ``process`` is the parent's view of one, ``protocol`` what goes through its pipes.
"""
