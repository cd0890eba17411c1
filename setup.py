"""Build the native codecs, and the hot rooms of the server, with Cython.

`native/*.pyx` are bytes-only modules on libcrypto. The modules in COMPILED are ordinary Python
that Cython compiles as well, because every packet passes through them.
AAA_SANITIZE=1 builds with AddressSanitizer and UndefinedBehaviorSanitizer.
"""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, find_packages, setup

ROOT = Path(__file__).parent
COMPILED = [
    "aaa/credential/verifier.py",
    "aaa/model/access.py",
    "aaa/model/accounting.py",
    "aaa/model/records.py",
    "aaa/model/shelves.py",
    "aaa/radius/admission.py",
    "aaa/diameter/request.py",
    "aaa/diameter/firewall.py",
    "aaa/diameter/watchdog.py",
    "aaa/diameter/duplicates.py",
    "aaa/diameter/peer.py",
    "aaa/state/sessions.py",
    "aaa/state/rows.py",
    "aaa/state/meters.py",
    "aaa/state/mobile.py",
    "aaa/engine/decisions.py",
    "aaa/engine/authorize.py",
    "aaa/engine/account.py",
    "aaa/engine/presence.py",
    "aaa/engine/policy_control.py",
    "aaa/engine/charging.py",
    "aaa/engine/mobility.py",
    "aaa/mapping/settings.py",
    "aaa/mapping/mobile.py",
    "aaa/mapping/access.py",
    "aaa/mapping/gx.py",
    "aaa/mapping/accounting.py",
    "aaa/mapping/gy.py",
    "aaa/mapping/s6a.py",
    "aaa/server/listener.py",
    "aaa/server/diameter_traffic.py",
]

sanitize = os.environ.get("AAA_SANITIZE") == "1"
compile_args = ["-O1", "-g", "-fno-omit-frame-pointer"] if sanitize else ["-O2", "-g0"]
compile_args += ["-Wall", "-Wno-unused-function", "-Wno-deprecated-declarations"]
link_args: list[str] = []
if sanitize:
    compile_args += ["-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
    link_args += ["-fsanitize=address,undefined"]


def extension(source: str) -> Extension:
    name = source.rsplit(".", 1)[0].replace("/", ".")
    libraries = ["crypto", "crypt"] if source.startswith("native/") else []
    return Extension(name, [source], libraries=libraries, extra_compile_args=compile_args, extra_link_args=link_args)


sources = sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("native/*.pyx")) + ([] if sanitize else COMPILED)

setup(
    packages=find_packages(include=["aaa*", "policy*", "billing_hooks*", "native*", "dictionaries*"]),
    ext_modules=cythonize(
        [extension(source) for source in sources],
        build_dir="build/sanitize" if sanitize else "build/cython",
        nthreads=os.cpu_count() or 1,
        compiler_directives={
            "language_level": 3,
            "embedsignature": True,
            "annotation_typing": False,
            "freethreading_compatible": False,
        },
        quiet=True,
    ),
)
