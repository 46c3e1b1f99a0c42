"""XMP packets: what is read, what is changed, and that every other byte stays."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mpiqe.apply.xmp import MOST_BYTES, XMPError, changed, read_packet

DARKTABLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about=""
    xmlns:xmp="http://ns.adobe.com/xap/1.0/"
    xmlns:dc="http://purl.org/dc/elements/1.1/"
    xmlns:darktable="http://darktable.sf.net/"
   exif:DateTimeOriginal="2026:07:01 10:00:00.000" xmlns:exif="http://ns.adobe.com/exif/1.0/"
   xmp:Rating="3"
   darktable:history_end='2 > 1 " &amp; so'
   darktable:iop_order_version="4">
   <!-- made by hand: Rating="9" -->
   <dc:subject>
    <rdf:Bag>
     <rdf:li>holiday &lt;3</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <darktable:history>
    <rdf:Seq>
     <rdf:li darktable:num="0" xmp:Rating="1"/>
    </rdf:Seq>
   </darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""
ELEMENTS = """<?xpacket begin='\ufeff' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.57'>
<rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>

 <rdf:Description rdf:about='uuid:faf5bdd5'
  xmlns:xap='http://ns.adobe.com/xap/1.0/'>
  <xap:Rating>2</xap:Rating>
  <xap:Label>Köln</xap:Label>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>""".encode()
OURS = {"Score": "42.5", "Distortion": 'a "blur" & <more>\n'}


@pytest.mark.parametrize(
    ("packet", "old", "new"),
    [
        (DARKTABLE, b'xmp:Rating="3"', b'xmp:Rating="5"'),
        (ELEMENTS, b"<xap:Rating>2<", b"<xap:Rating>5<"),
        (ELEMENTS.replace(b">2</xap:Rating>", b"/>"), b"<xap:Rating/>", b"<xap:Rating>5</xap:Rating>"),
        (ELEMENTS.replace(b">2<", b"><"), b"<xap:Rating><", b"<xap:Rating>5<"),
        (DARKTABLE.replace(b'xmp:Rating="3"', b"xmp:Rating  =\n '3'"), b"Rating  =\n '3'", b'Rating  =\n "5"'),
    ],
)
def test_the_rating_is_changed_in_its_place_and_no_other_byte_is(packet, old, new):
    result = changed(read_packet(packet), rating=5, ours=OURS)
    block = re.search(rb"\n  <rdf:Description [^>]*xmlns:mpiqe=(?:[^>\"]|\"[^\"]*\")*/>", result)
    assert block is not None
    assert result.replace(block[0], b"") == packet.replace(old, new)
    assert read_packet(result).rating == 5
    assert read_packet(result).ours == OURS


def test_the_rating_of_a_history_is_not_the_photos():
    assert read_packet(DARKTABLE).rating == 3
    assert read_packet(DARKTABLE.replace(b'   xmp:Rating="3"\n', b"")).rating is None


@pytest.mark.parametrize("value", ["", "four", "nan", "inf", "-inf", "1e999"])
def test_a_rating_that_is_no_finite_number_is_none_and_is_replaced(value):
    packet = DARKTABLE.replace(b'xmp:Rating="3"', f'xmp:Rating="{value}"'.encode())
    assert read_packet(packet).rating is None
    assert read_packet(changed(read_packet(packet), rating=4, ours=OURS)).rating == 4


def test_no_rating_leaves_the_one_that_is_there():
    assert read_packet(changed(read_packet(DARKTABLE), rating=None, ours=OURS)).rating == 3
    new = changed(None, rating=None, ours=OURS)
    assert b"xmp:Rating" not in new
    assert read_packet(new).ours == OURS


@pytest.mark.parametrize("packet", [None, DARKTABLE, ELEMENTS, DARKTABLE.replace(b"\n", b"\r\n")])
def test_the_same_values_again_give_the_same_bytes_and_others_replace_ours(packet):
    first = changed(packet and read_packet(packet), rating=4, ours=OURS)
    assert changed(read_packet(first), rating=4, ours=OURS) == first
    assert changed(read_packet(first), rating=None, ours=OURS) == first
    other = changed(read_packet(first), rating=-1, ours={"Quality": "0.5"})
    assert read_packet(other).ours == {"Quality": "0.5"}
    assert read_packet(other).rating == -1
    assert changed(read_packet(other), rating=4, ours=OURS) == first
    assert (b"\r\n" in first) == (packet is not None and b"\r\n" in packet)
    assert not re.search(rb"(?<!\r)\n", first) or b"\r\n" not in first


def test_the_about_of_the_other_descriptions_is_ours_too():
    assert changed(read_packet(ELEMENTS), rating=1, ours=OURS).count(b"rdf:about='uuid:faf5bdd5'") == 2


def test_ours_are_replaced_where_another_program_has_put_them_into_its_own_description():
    merged = DARKTABLE.replace(
        b'   xmp:Rating="3"\n', b'   xmp:Rating="3"\n   m:Score="1" xmlns:m="urn:x-mpiqe:xmp:1.0/"\n'
    ).replace(b"   <dc:subject>", b"   <m:Quality>0.1</m:Quality>\n   <dc:subject>")
    assert read_packet(merged).ours == {"Score": "1", "Quality": "0.1"}
    result = changed(read_packet(merged), rating=2, ours=OURS)
    assert read_packet(result).ours == OURS
    assert b"holiday &lt;3" in result
    assert b'xmp:Rating="2"' in result


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_stays_utf_16(encoding):
    mark = "\ufeff".encode(encoding)
    text = DARKTABLE.decode().replace("UTF-8", "UTF-16").replace("holiday", "Köln")
    result = changed(read_packet(mark + text.encode(encoding)), rating=5, ours=OURS)
    assert result.startswith(mark)
    again = result.decode("utf-16")
    assert "Köln" in again
    assert 'xmp:Rating="5"' in again


def test_a_byte_order_mark_of_utf_8_stays():
    result = changed(read_packet(b"\xef\xbb\xbf" + DARKTABLE), rating=5, ours=OURS)
    assert result.startswith(b"\xef\xbb\xbf<?xml")
    assert b'xmp:Rating="5"' in result


@pytest.mark.parametrize(
    "rdf", [b"<rdf:RDF xmlns:rdf='%s'/>", b"<r:RDF xmlns:r='%s' />", b"<rdf:RDF xmlns:rdf='%s'></rdf:RDF>"]
)
@pytest.mark.parametrize("root", [b"<x:xmpmeta xmlns:x='adobe:ns:meta/'>%s</x:xmpmeta>", b"%s"])
def test_an_empty_packet_takes_ours(rdf, root):
    packet = root % (rdf % b"http://www.w3.org/1999/02/22-rdf-syntax-ns#")
    result = changed(read_packet(packet), rating=3, ours=OURS)
    assert (read_packet(result).rating, read_packet(result).ours) == (3, OURS)


BOMB = b"""<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<x:xmpmeta xmlns:x="adobe:ns:meta/">&b;</x:xmpmeta>"""
FILE = b'<!DOCTYPE x [<!ENTITY a SYSTEM "file:///etc/passwd">]><x>&a;</x>'


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (BOMB, "document type"),
        (FILE, "document type"),
        (b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x.dtd"><x/>', "document type"),
        (DARKTABLE.replace(b"&lt;3", b"&nbsp;"), "not well-formed XML"),
        (b"", "not well-formed XML"),
        (b"\xff\xd8\xff\xe0", "neither UTF-8 nor UTF-16"),
        (b"<html/>", "not XMP"),
        (DARKTABLE[:-20], "not well-formed XML"),
        (DARKTABLE.replace(b"UTF-8", b"ISO-8859-1"), "its encoding is ISO-8859-1"),
        (b"<x>" * 200_000, "not well-formed XML"),
        (b" " * (MOST_BYTES + 1), "over the limit"),
    ],
)
def test_what_is_no_xmp_or_might_do_harm_is_refused(content, reason):
    with pytest.raises(XMPError, match=reason):
        read_packet(content)


@settings(max_examples=150, deadline=None)
@given(
    packet=st.sampled_from([DARKTABLE, ELEMENTS]),
    place=st.integers(0, len(DARKTABLE)),
    text=st.sampled_from([b"<", b">", b'"', b"'", b"/", b"<xmp:Rating>4</xmp:Rating>", b"\n", b"&", b"xmlns:a='b'"]),
    cut=st.integers(0, 12),
)
def test_a_damaged_packet_is_refused_or_gets_what_was_asked_for(packet, place, text, cut):
    damaged = packet[:place] + text + packet[place + cut :]
    try:
        result = read_packet(changed(read_packet(damaged), rating=5, ours=OURS))
    except XMPError:
        return
    assert (result.rating, result.ours) == (5, OURS)
