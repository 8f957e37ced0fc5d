"""The table of everything tried in this folder: input, result, verdict; printed when tests end.

What a test tells travels with its report, so that workers' rows reach the table too.
"""

import re
from pathlib import Path

PROPERTY = 'what came of it'
FOLDER = 'tests/robustness/'
VERDICTS = {'passed': 'right', 'failed': 'WRONG', 'skipped': 'not tried', 'error': 'WRONG'}


def pytest_terminal_summary(terminalreporter):
    """A line for each test of this folder; nothing where none ran."""
    rows = [
        row(report, verdict)
        for verdict in VERDICTS
        for report in terminalreporter.stats.get(verdict, [])
        if FOLDER in getattr(report, 'nodeid', '')
    ]
    if not rows:
        return
    terminalreporter.section('what was tried: input, result, verdict')
    for kind, tried, result, verdict in sorted(rows):
        terminalreporter.write_line(f'{kind:<12} {tried:<70} {verdict:<9} {result}')
    right = sum(verdict == VERDICTS['passed'] for *_, verdict in rows)
    terminalreporter.write_line(f'{right} of {len(rows)} right')


def row(report, verdict: str) -> tuple[str, str, str, str]:
    """Kind (the file), input (the test's name and parameters), result, verdict."""
    file, _, test = report.nodeid.partition('::')
    told = [str(value) for name, value in report.user_properties if name == PROPERTY]
    result = '; '.join(told) if told else 'as it says'
    tried = test.removeprefix('test_').replace('_', ' ').replace('[', ': ').rstrip(']')
    kind = Path(file).stem.removeprefix('test_').replace('_', ' ')
    return kind, tried[:70], shortened(result), VERDICTS[verdict]


def shortened(text: str) -> str:
    """Without the folders that tests run in, at most 120 characters."""
    plain = ' '.join(re.sub(r'/\S*pytest-\d+/\S*?/', '', text).split())
    return plain if len(plain) <= 120 else f'{plain[:119]}…'
