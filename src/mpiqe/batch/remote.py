"""An output in an object store. An object cannot grow, so rows lie on this machine until all are there."""

import contextlib
import hashlib
import os
from pathlib import Path

from mpiqe.batch.resume import settings_file
from mpiqe.errors import ConfigError
from mpiqe.sources.photo import Limits
from mpiqe.sources.stored_file import StoredFile


class RemoteOutput:
    """An object, and the local file in whose place it is written: in a folder of its own below the user's cache.

    That folder is there from the first row until the object has all; what is in it is continued by ``--resume``.
    """

    def __init__(self, url: str, limits: Limits) -> None:
        self.rows = StoredFile(url, limits)
        self.settings = StoredFile(f"{url}.run.json", limits)
        self.is_fetched = False
        cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
        digest = hashlib.blake2b(url.encode("utf-8", "surrogateescape"), digest_size=8).hexdigest()
        self.folder = cache / "mpiqe" / "outputs" / digest
        self.local = self.folder / url.rstrip("/").rpartition("/")[2]

    def begin(self, *, resume: bool, overwrite: bool, is_unfinished: bool) -> None:
        """Fetch the rows that are to be continued; raises ``ConfigError`` where some would be lost.

        ``is_unfinished``: whether rows of an earlier run wait on this machine.
        """
        if overwrite or (resume and is_unfinished):
            return
        if is_unfinished:
            raise ConfigError(
                f"{self.folder} has rows for {self.rows.name} of a run that was not finished; continue it with "
                "--resume, or start anew with --overwrite"
            )
        if not self.rows.size():
            return
        if not resume:
            raise ConfigError(
                f"{self.rows.name} is there already: --resume continues it, --overwrite replaces it; or name another "
                "--output"
            )
        self.is_fetched = True
        self.rows.fetch(self.local)
        if self.settings.size():
            self.settings.fetch(settings_file(self.local))

    def finish(self) -> None:
        """Write the object, then its settings, and remove what lay here."""
        has_settings = settings_file(self.local).is_file()
        try:
            if not has_settings and self.settings.size() is not None:  # those of the rows that are replaced
                self.settings.remove()
            self.rows.put(self.local)
            if has_settings:
                self.settings.put(settings_file(self.local))
        except ConfigError as error:
            raise ConfigError(f"{error}; the rows are all in {self.folder}, and --resume tries again") from error
        self.local.unlink()
        settings_file(self.local).unlink(missing_ok=True)

    def leave(self) -> None:
        """Remove the folder if nothing is in it."""
        with contextlib.suppress(OSError):
            self.folder.rmdir()
