"""Real but modest scorers: of the command line's tests and of the scorer's."""

from tests.cli.conftest import folder, modest_model
from tests.scoring.conftest import brightness, make_scorer, photos

__all__ = ["brightness", "folder", "make_scorer", "modest_model", "photos"]
