"""``python -m mpiqe`` is the ``mpiqe`` command."""

from mpiqe.cli.main import main

main()
