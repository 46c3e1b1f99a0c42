"""Scores in a WebDataset pipeline: pip install . webdataset (in the repository). Run it in examples/."""

import tempfile
from pathlib import Path

import webdataset as wds

import mpiqe

with tempfile.TemporaryDirectory() as folder:
    for shard in range(2):
        with wds.TarWriter(f"{folder}/photos-{shard}.tar") as writer:
            for file in sorted(Path().glob("*.jpg"))[shard::2]:
                writer.write({"__key__": file.stem, "jpg": file.read_bytes(), "json": {"shard": shard}})

    photos = wds.WebDataset(f"{folder}/photos-{{0..1}}.tar", shardshuffle=False).compose(mpiqe.webdataset())
    for sample in list(photos)[:4]:
        print(sample["__key__"], round(sample["score"], 2), sample["distortion"])

    good = wds.WebDataset(f"{folder}/photos-{{0..1}}.tar", shardshuffle=False).compose(mpiqe.webdataset(min_score=60))
    decoded = good.decode("pil", partial=True).to_tuple("__key__", "jpg", "json", "score")
    for key, image, note, score in decoded:
        print(key, image.size, note, round(score, 2))
