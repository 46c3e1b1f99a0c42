import pytest

from mpiqe.data.scales import on_one_scale, scale_of


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        (("kadid", 1.0, 4.9), ("koniq", 1.1, 4.3), True),
        (("livec", 3.4, 92.4), ("live", 0.0, 114.4), False),  # both declared, so their ranges do not matter
        (("koniq", 1.1, 4.3), ("koniq", 3.9, 88.4), False),  # the z-scores, another of its variants
        (("mine", 1.0, 5.0), ("yours", 1.5, 4.5), True),
        (("mine", 1.0, 5.0), ("livec", 3.4, 92.4), False),
        (("mine", 0.1, 0.9), ("yours", 40.0, 90.0), False),
        (("mine", 2.0, 2.0), ("yours", 2.0, 2.0), True),
    ],
)
def test_scales_are_one_where_they_are_declared_the_same_or_overlap(first, second, same):
    assert on_one_scale(scale_of(*first), scale_of(*second)) == same
