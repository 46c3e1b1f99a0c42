"""Scores in data pipelines: a column of ``datasets``, Ray Data, pandas, polars and WebDataset."""
