"""The command lines, one a file: ``add_arguments(parser)`` and ``run(args)``.

``tools/NAME.py`` and ``massm NAME`` are two doors to the same function. What takes seconds to
import (the network, its training) is imported when a command runs: ``--help`` answers at once.
"""
