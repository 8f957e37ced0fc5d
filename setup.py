"""Ranges of what MASSM needs; tested versions are pinned in requirements/constraints.txt."""

import platform
from pathlib import Path

from setuptools import find_packages, setup

ROOT = Path(__file__).parent


def requirements(name: str) -> list[str]:
    """The lines of ``requirements/NAME.txt`` that name a package."""
    lines = (ROOT / 'requirements' / f'{name}.txt').read_text(encoding='utf-8').splitlines()
    return [line for line in lines if line and not line.startswith(('#', '-'))]


def version() -> str:
    """``__version__`` of the package, read without importing it."""
    text = (ROOT / 'massm' / '__init__.py').read_text(encoding='utf-8')
    return text.split("__version__ = '")[1].split("'")[0]


LINUX_X86 = platform.system() == 'Linux' and platform.machine() == 'x86_64'
OPEN3D = 'open3d-cpu>=0.18' if LINUX_X86 else 'open3d>=0.18'

setup(
    name='massm',
    version=version(),
    description='Multi-anatomy statistical shape models directly from CT volumes',
    long_description=(ROOT / 'README.md').read_text(encoding='utf-8'),
    long_description_content_type='text/markdown',
    license='Apache-2.0',
    python_requires='>=3.10',
    packages=find_packages(include=['massm', 'massm.*']),
    package_data={'massm': ['py.typed']},
    install_requires=[*requirements('runtime'), OPEN3D],
    extras_require={
        'tests': requirements('tests'),
        'dev': requirements('dev'),
        'dask': ['distributed>=2024.1'],
    },
    entry_points={'console_scripts': ['massm = massm.cli:main']},
)
