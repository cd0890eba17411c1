#!/usr/bin/env bash
# What the build needs from the system; names what is missing and how to get it.
set -u
python=${1:-python3}
missing=()
command -v "$python" >/dev/null || { echo "error: $python is missing: install Python 3.11 or newer (Debian: apt-get install python3 python3-venv python3-dev)"; exit 1; }
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "error: $("$python" --version) is too old: Python 3.11 or newer is needed (make PYTHON=python3.12 ...)"; exit 1; }
"$python" -c 'import venv, ensurepip' 2>/dev/null || missing+=("the venv module (Debian: python3-venv)")
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
[ -f "$include/Python.h" ] || missing+=("the Python headers (Debian: python3-dev)")
cc=${CC:-cc}
if command -v "$cc" >/dev/null; then
    echo '#include <openssl/md5.h>' | "$cc" -E - >/dev/null 2>&1 || missing+=("the OpenSSL headers (Debian: libssl-dev)")
    echo '#include <crypt.h>' | "$cc" -E - >/dev/null 2>&1 || missing+=("the crypt headers (Debian: libcrypt-dev)")
else
    missing+=("a C compiler (Debian: gcc)")
fi
if [ ${#missing[@]} -gt 0 ]; then
    printf 'error: missing: %s\n' "${missing[@]}"
    exit 1
fi
