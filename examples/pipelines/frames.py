"""Scores beside a column of paths: pip install . pandas polars (in the repository). Run it in examples/."""

from pathlib import Path

import pandas as pd
import polars as pl

import mpiqe

files = sorted(map(str, Path().glob("*.jpg")))
table = mpiqe.score_frame(pd.DataFrame({"path": files}))
print(table[["path", "score", "distortion", "interval_low", "interval_high"]].head(5).round(2))
print("unreadable:", int(table["error"].notna().sum()))

frame = mpiqe.score_frame(pl.DataFrame({"path": [*files, None]}))
print(frame.filter(pl.col("score") >= 60).select("path", "score").sort("score", descending=True).head(5))
print(frame.schema)
print("the same:", frame["score"].to_list()[:-1] == table["score"].tolist())
