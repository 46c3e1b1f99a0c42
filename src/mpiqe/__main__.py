"""``python -m mpiqe`` is the ``mpiqe`` command."""

from mpiqe.cli.start import main

main()
