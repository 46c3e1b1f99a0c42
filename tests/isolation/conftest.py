from tests.scoring.conftest import brightness, make_scorer, photos

__all__ = ["brightness", "make_scorer", "photos"]
