"""See massm/commands/build_pdm.py, or run with --help."""

from massm.cli import tool

if __name__ == '__main__':
    tool('build_pdm')
