"""The console script: prepare streams and Ctrl-C before anything else is imported.

Standard streams may be closed (a service, cron, ``<&-``), and Ctrl-C may come while modules are being imported.
"""

import os

from mpiqe.cli.interrupts import ending_at_once


def main() -> None:
    """Run the command."""
    with ending_at_once():
        occupy_standard_descriptors()
        from mpiqe.cli.main import main as run

        run()


def occupy_standard_descriptors() -> None:
    """Open the null device on each of the descriptors 0, 1 and 2 that is closed.

    Otherwise the next file that is opened gets that number, and a library that prints to the standard output writes
    into it. ``sys.stdin``, ``sys.stdout`` and ``sys.stderr`` stay ``None``: commands see that there is none.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            opened = os.open(os.devnull, os.O_RDWR)
            if opened != descriptor:
                os.dup2(opened, descriptor)
                os.close(opened)
            os.set_inheritable(descriptor, True)
