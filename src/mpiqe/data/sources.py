"""From the words on a command line to a dataset."""

from pathlib import Path

from mpiqe.data.livec import read_livec
from mpiqe.data.record import Dataset
from mpiqe.data.table import read_csv
from mpiqe.errors import ConfigError


def read_dataset(spec: str, *, root: Path | None = None, labels: Path | None = None) -> Dataset:
    """Read ``livec`` (which lies at ``root``, with LIQE's ``labels`` if given) or ``csv:FILE``.

    Raises ``ConfigError`` for a spec that is neither and for a folder that is missing or has no meaning there, and
    ``DatasetError`` for whatever the reader finds.
    """
    kind, _, file = spec.partition(":")
    if spec == "livec":
        if root is None:
            raise ConfigError("livec needs --root DIR, the folder that holds ChallengeDB_release/")
        return read_livec(root, labels)
    if kind == "csv" and file:
        if root is not None or labels is not None:
            raise ConfigError(
                f"{spec}: --root and --labels have no meaning here; image paths are relative to the CSV's folder"
            )
        return read_csv(Path(file))
    raise ConfigError(f"no dataset is called {spec!r}; known are livec, csv:FILE")
