"""Scoring on many machines: the same rows, shard by shard. ``engine`` is the only module here that knows Ray.

``shards`` cuts sources into shards, ``worker`` scores one, ``parts`` keeps what is finished and makes one file of it.
"""
