from mpiqe.data.order import shuffled


def test_the_order_depends_on_the_names_and_the_key_not_on_how_they_came():
    assert shuffled("abcdef", "k") == shuffled("fedcba", "k")
    assert shuffled("abcdef", "k") != shuffled("abcdef", "l")


def test_no_name_is_lost_and_every_place_is_possible():
    orders = [shuffled("abcd", str(key)) for key in range(200)]
    assert {tuple(sorted(order)) for order in orders} == {("a", "b", "c", "d")}
    assert len({tuple(order) for order in orders}) == 24
