"""See massm/commands/shape_stats.py, or run with --help."""

from massm.cli import tool

if __name__ == '__main__':
    tool('shape_stats')
