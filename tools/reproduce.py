"""See massm/commands/reproduce.py, or run with --help."""

from massm.cli import tool

if __name__ == '__main__':
    tool('reproduce')
