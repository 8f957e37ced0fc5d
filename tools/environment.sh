# Sourced by quickstart.sh and run_tests.sh: moves to the repository and makes the environment.
# make_environment EXTRAS, e.g. make_environment "" or make_environment "[tests]".

cd "$(dirname "${BASH_SOURCE[0]}")/.."
# Packages are put in without bytecode, which the first import of each writes. Were it not written,
# every command would compile torch and its like again: twenty seconds a start.
unset PYTHONDONTWRITEBYTECODE

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

fail() { echo "error: $1" >&2; exit 1; }

# need WHAT PACKAGES...: installs Debian packages when root, else says how to.
need() {
  local what=$1; shift
  if can_apt; then
    echo "installing $what: $*"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 install -y -qq "$@"; } >/dev/null 2>&1 \
      || fail "could not install $what; run: apt-get install $*"
  else
    fail "$what is missing; run: sudo apt-get install $*"
  fi
}

check_python() {
  PYTHON=${PYTHON:-python3}
  command -v "$PYTHON" >/dev/null || need "Python" python3 python3-venv
  "$PYTHON" -c 'import sys; sys.exit(not (3, 10) <= sys.version_info < (3, 13))' \
    || fail "Python 3.10 to 3.12 is needed, $PYTHON is $("$PYTHON" -V 2>&1); set PYTHON=/path/to/python3.11"
}

check_libraries() {
  [ "$(uname -s)" = Linux ] || return 0
  local missing="" known
  known=$(/sbin/ldconfig -p 2>/dev/null || ldconfig -p)
  grep -q 'libusb-1.0.so.0' <<<"$known" || missing="$missing libusb-1.0-0"
  grep -q 'libGL.so.1' <<<"$known" || missing="$missing libgl1"
  grep -q 'libgomp.so.1' <<<"$known" || missing="$missing libgomp1"
  # shellcheck disable=SC2086
  [ -z "$missing" ] || need "a system library of Open3D" $missing
  command -v c++ >/dev/null || command -v g++ >/dev/null \
    || echo "note: no C++ compiler found; should a package need building, run: sudo apt-get install g++"
}

# has_environment: conda's base, in which every shell begins, is none to put packages into.
has_environment() {
  [ -n "${VIRTUAL_ENV:-}" ] || { [ -n "${CONDA_PREFIX:-}" ] && [ "${CONDA_DEFAULT_ENV:-}" != base ]; }
}

# tell_environment: how the next commands find the package, if the caller's shell does not yet.
tell_environment() { [ -z "$MADE" ] || echo "Before other commands, in every new shell: . .venv/bin/activate"; }

activate() {
  MADE=
  if ! has_environment; then
    MADE=1
    if [ ! -f .venv/bin/activate ]; then
      "$PYTHON" -c 'import ensurepip, venv' 2>/dev/null || need "the venv module" python3-venv
      echo "making .venv"
      "$PYTHON" -m venv .venv || fail "could not make .venv; run: sudo apt-get install python3-venv"
    fi
    # shellcheck disable=SC1091
    . .venv/bin/activate
  fi
  PYTHON=python
}

# install_packages EXTRAS: torch comes by pip, which may know of a wheel for this machine; the rest
# by uv, in seconds where pip takes minutes. First everything, each package built by itself: next to
# torch, mmcv would compile all of its operators (minutes; none is used here). Then ours again, whose
# operators do need torch; without them they are built on first use, or the torch reference serves.
install_packages() {
  local pinned=(-q -c requirements/constraints.txt) everything=(-e ".$1")
  local ours=(--no-build-isolation --no-deps -e .) first=(--no-compile setuptools wheel ninja torch)
  local pip=(python -m pip install --disable-pip-version-check "${pinned[@]}")
  local uv=(python -m uv pip install --python "$(command -v python)" --reinstall-package massm "${pinned[@]}")
  "${pip[@]}" "${first[@]}" uv || "${pip[@]}" "${first[@]}" \
    || fail "pip could not install torch; the lines above say why"
  if ! python -m uv --version >/dev/null 2>&1 || ! "${uv[@]}" "${everything[@]}"; then
    echo "note: uv cannot install the packages, now pip does (two to ten minutes)"
    uv=("${pip[@]}")
    "${pip[@]}" "${everything[@]}" || fail "pip could not install the packages; the lines above say why"
  fi
  "${uv[@]}" "${ours[@]}" && return
  echo "note: massm's operators could not be built (the lines above say why), going on without them"
  MASSM_COMPILED_OPS=0 "${uv[@]}" "${ours[@]}" || fail "massm could not be installed; the lines above say why"
}

record() { python -c 'import sys; print(sys.prefix + "/.massm-installed")'; }

# is_installed STAMP: by an earlier run with the same extras, or with the tests' besides.
is_installed() {
  grep -qxF -e "$1" -e "[tests]$1" "$(record)" 2>/dev/null && python -c 'import massm' 2>/dev/null
}

make_environment() {
  check_python
  check_libraries
  activate
  local stamp
  stamp="$1 $(cat setup.py pyproject.toml requirements/*.txt massm/ops/kernel_sources.py massm/ops/csrc/* | cksum | tr ' ' -) $PWD"
  if ! is_installed "$stamp"; then
    echo "installing packages (first run: a minute or two)"
    install_packages "$1"
    echo "$stamp" >>"$(record)"
  fi
}
