import pytest

from mpiqe.sources.urls import last_name, scheme, shown


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://me:pass@host/a.jpg", "https://host/a.jpg"),
        ("s3://key:sec/ret@bucket/a.jpg", "s3://bucket/a.jpg"),
        ("http://host:80/a@b.jpg", "http://host:80/a@b.jpg"),
        ("https://host/a@b.jpg?id=7&size=3", "https://host/a@b.jpg?id=7&size=3"),
        ("https://h/a?X-Amz-Date=1&X-Amz-Signature=2&id=3", "https://h/a?X-Amz-Date=***&X-Amz-Signature=***&id=3"),
        ("https://h/a?sv=1&sig=2%3D&monkey=x&api_key=5", "https://h/a?sv=***&sig=***&monkey=x&api_key=***"),
        ("https://h/a?access_token=1#x", "https://h/a?access_token=***#x"),
        ("no connection to https://me:pass@host/ today", "no connection to https://host/ today"),
    ],
)
def test_secrets_are_not_shown(url, expected):
    assert shown(url) == expected


def test_an_address_is_told_from_a_path():
    addresses = ("http://x", "HTTPS://x", "s3://b/k", "zip://a.jpg::s3://b/k.zip")
    assert [scheme(url) for url in addresses] == ["http", "https", "s3", "zip"]
    assert [scheme(path) for path in ("C://x", "a.tar::b", "a/b://c", "://x", "x:/y", "-")] == [None] * 6


def test_an_address_ends_in_a_name():
    urls = ("http://h/a/b%20c.jpg?x=1", "http://h/", "http://h/a/")
    assert [last_name(url) for url in urls] == ["b c.jpg", "h", "a"]
