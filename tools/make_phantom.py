"""See massm/commands/make_phantom.py, or run with --help."""

from massm.cli import tool

if __name__ == '__main__':
    tool('make_phantom')
