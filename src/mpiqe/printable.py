"""Text from files on its way to a terminal, which would obey the control sequences in it."""


def printable(text: str, *, keep: str = "") -> str:
    r"""``text`` with every character that is not printed (ESC, line breaks, lone surrogates) as an escape, ``\x1b``.

    Those in ``keep`` stay as they are.
    """
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in keep else ascii(each)[1:-1] for each in text)
