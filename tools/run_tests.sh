#!/usr/bin/env bash
# Makes the environment with the test packages and runs the tests. Usage: bash tools/run_tests.sh
# [pytest arguments]. Set MASSM_TEST_DATA to a folder of real scans to run the tests that need them.
set -euo pipefail
# shellcheck source=tools/environment.sh
. "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
check_libraries
# The report is looked at in a real browser where one can be had; it comes while pip works.
command -v chromium >/dev/null || ! can_apt || (need "a browser for the report's tests" chromium) &
make_environment "[tests]"
wait
# Two workers, a core each; a test file runs on one of them, so that its fixtures are made once.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
python -m pytest -n 2 --dist loadfile --no-loadscope-reorder --durations=10 "$@"
