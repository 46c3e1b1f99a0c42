"""Scores in Hugging Face's datasets, held and streamed: pip install . datasets (in the repository). For examples/."""

from pathlib import Path

from datasets import Dataset, Image, disable_progress_bars

import mpiqe

disable_progress_bars()
files = sorted(map(str, Path().glob("*.jpg")))
photos = Dataset.from_dict({"image": files}).cast_column("image", Image())

scored = photos.map(mpiqe.hf(), batched=True, batch_size=8)
print(scored.features["score"], scored.num_rows, "rows")
for row in scored.select(range(3)).remove_columns("image"):
    print(round(row["score"], 2), row["distortion"])
print("kept:", scored.filter(lambda score: score >= 60, input_columns="score").num_rows)

again = photos.map(mpiqe.hf(), batched=True, batch_size=8)
print("the same key in the cache:", again._fingerprint == scored._fingerprint)
other = photos.map(mpiqe.hf(crops=1), batched=True, batch_size=8)
print("with other options:", other._fingerprint == scored._fingerprint)

in_two = photos.map(mpiqe.hf(), batched=True, batch_size=8, num_proc=2, load_from_cache_file=False)
print("the same in two processes:", in_two["score"][:] == scored["score"][:])

streamed = photos.to_iterable_dataset().map(mpiqe.hf(), batched=True, batch_size=4)
print("streamed:", [round(row["score"], 2) for row in streamed.take(3)])

content = Path(files[0]).read_bytes()
held = [{"bytes": content, "path": None}, {"bytes": content[:2000], "path": None}]
damaged = Dataset.from_dict({"image": held}).cast_column("image", Image(decode=False))
print(damaged.map(mpiqe.hf(), batched=True)["error"][:])
