"""Which addresses may be followed, by who named them."""

import pytest

from mpiqe.errors import ConfigError
from mpiqe.sources.reach import Reach, is_public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.10", "0.1.2.3", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "192.0.0.8", "192.0.2.1", "198.18.0.1", "224.0.0.1", "240.0.0.1", "255.255.255.255", "::", "::1", "fe80::1",
        "fe80::1%eth0", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "2001:db8::1", "::ffff:127.0.0.1", "::127.0.0.1",
        "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "2002:7f00:1::1", "2002:a9fe:a9fe::",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2", "5f00::1", "64:ff9b:1::a9fe:a9fe",
    ],
)  # fmt: skip
def test_addresses_of_this_machine_its_networks_and_none_are_not_public(address):
    assert not is_public(address)


@pytest.mark.parametrize(
    "address", ["1.1.1.1", "93.184.216.34", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101", "2002:101:101::1"]
)
def test_addresses_of_the_internet_are_public(address):
    assert is_public(address)


CODE = "reference://a.jpg::data:application/json;base64,e30="


@pytest.mark.parametrize(
    "url",
    [
        CODE, "s3://b/a.jpg::data:,x", "simplecache::s3://b/a.jpg", "zip://a.jpg::s3://b/a.zip", "file:///etc/passwd",
        "local:///etc/passwd", "FILE:///etc/passwd", "memory://a.jpg", "sftp://h/a.jpg", "ftp://h/a.jpg", "hf://a/b",
        "github://a:b@/c.jpg", "gdrive://a", "git://.", "ssh://h/a", "data://a", "jar://a", "S3a://b/a",
    ],
)  # fmt: skip
def test_only_plain_addresses_are_followed(url):
    assert Reach().refusal(url)
    assert Reach().refusal(url, chains=True)


@pytest.mark.parametrize("url", ["s3://b/a.jpg", "gs://b/a.jpg", "az://c/a.jpg", "abfs://c/a.jpg", "S3://b/a.jpg"])
def test_stores_are_followed(url):
    assert Reach().refusal(url) is None


def test_what_the_user_allows_is_followed_but_chains_where_he_typed_them_alone():
    reach = Reach.of([], schemes=["ZIP://", "file", "reference"])
    assert reach.schemes == ("file", "reference", "zip")
    chain = "zip://a.jpg::file:///b.zip"
    assert reach.refusal(chain, chains=True) is None
    assert reach.refusal("zip://a.jpg::/b.zip", chains=True) is None
    assert "only where it is a PATH of the command line" in reach.refusal(chain)
    assert "--allow-scheme data adds it" in reach.refusal(CODE, chains=True)
    assert "--allow-scheme file adds it" in Reach(schemes=("zip",)).refusal("zip://a.jpg::/b.zip", chains=True)


def test_a_table_elsewhere_names_no_files_whatever_is_allowed():
    reach = Reach.of([], schemes=["file", "local"])
    for url in ("file:///etc/passwd", "local:///etc/passwd"):
        assert reach.refusal(url) is None
        assert "names no files of this machine" in reach.refusal(url, files=False)


def test_hosts_are_named_by_addresses_on_the_command_line_and_allowed_by_name_suffix_or_network():
    reach = Reach.of(
        ["a.jpg", "http://me:x@NAS.lan.:8000/a.jpg", "https://bücher.example/", "s3://bucket/x", "http://[x/"],
        hosts=["Intra.example", ".corp.example", "10.0.0.0/8", "[fd00::1]"],
    )
    assert reach.named == ("nas.lan", "xn--bcher-kva.example")
    assert reach.names("nas.lan")
    assert not reach.allows("nas.lan", "192.168.0.1")
    assert reach.allows("intra.example", "192.168.0.1")
    assert reach.allows("a.corp.example", "127.0.0.1")
    assert not reach.allows("corp.example", "127.0.0.1")
    assert reach.allows("any.example", "10.9.9.9")
    assert reach.allows("any.example", "fd00::1")
    assert not reach.allows("any.example", "fd00::2")


@pytest.mark.parametrize("name", ["", "s 3", "s3:", "::", "a/b", "-"])
def test_what_is_no_scheme_or_host_is_refused_with_a_sentence(name):
    with pytest.raises(ConfigError, match="--allow-scheme takes what stands before ://"):
        Reach.of([], schemes=[name])
    with pytest.raises(ConfigError, match="--allow-host takes a host"):
        Reach.of([], hosts=["a b/" + name])
