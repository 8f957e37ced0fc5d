#!/usr/bin/env bash
# Makes the environment with the test packages and runs the tests. Usage: bash tools/run_tests.sh
# [pytest arguments]. Set MASSM_TEST_DATA to a folder of real scans to run the tests that need them.
set -euo pipefail
# shellcheck source=tools/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
make_environment "[tests]"
# The report is looked at in a real browser where one can be had.
command -v chromium >/dev/null || ! can_apt || (need "a browser for the report's tests" chromium) || true
python -m pytest "$@"
