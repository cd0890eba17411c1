"""Build native/ with clang's sanitizers and run every harness of harness.py and machines.py under libFuzzer.

    python native/fuzz/run.py [--seconds 20] [--runs N] [--only decode,inside]

`--seconds` and `--runs` bound each harness. Needs clang with its runtimes and the headers of Python and OpenSSL.
What was found stays under build/fuzz/<harness>/ and can be fed back as an argument of build/sanitize/fuzz.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "native" / "fuzz"
LIBRARY = ROOT / "build" / "sanitize" / "lib"
EXECUTABLE = ROOT / "build" / "sanitize" / "fuzz"
CORPUS = ROOT / "build" / "fuzz"
SANITIZERS = "address,undefined"
HARNESSES = {
    "harness": ("decode", "inside", "fragments", "answer", "build", "proofs", "challenges", "messages", "avps"),
    "machines": ("grammars", "stream", "requests"),
}
"""By module."""
MODULES = {harness: module for module, harnesses in HARNESSES.items() for harness in harnesses}


def build() -> None:
    if shutil.which("clang") is None:
        sys.exit("clang is missing: apt-get install clang libclang-rt-14-dev")
    environment = {
        **os.environ,
        "AAA_SANITIZE": "1",
        "CC": "clang",
        "CFLAGS": "-fsanitize=fuzzer-no-link",
        "LDSHARED": "clang -shared",
    }
    command = [sys.executable, "setup.py", "-q", "build_ext"]
    command += ["--build-lib", str(LIBRARY), "--build-temp", str(LIBRARY.parent / "temp")]
    subprocess.run(command, cwd=ROOT, env=environment, check=True)
    shutil.copy(ROOT / "native" / "__init__.py", LIBRARY / "native")
    settings = sysconfig.get_config_vars()
    subprocess.run(
        [
            *("clang", "-O1", "-g", f"-fsanitize=fuzzer,{SANITIZERS}", "-fno-sanitize-recover=undefined"),
            *(f"-I{sysconfig.get_path('include')}", str(HERE / "driver.c"), "-o", str(EXECUTABLE)),
            *(f"-L{settings['LIBDIR']}", f"-L{settings['LIBPL']}", f"-Wl,-rpath,{settings['LIBDIR']}"),
            *(f"-lpython{settings['LDVERSION']}", *settings["LIBS"].split(), *settings["SYSLIBS"].split(), "-rdynamic"),
        ],
        check=True,
    )


def environment_of(harness: str) -> dict[str, str]:
    return {
        **os.environ,
        "AAA_FUZZ_HARNESS": harness,
        "AAA_FUZZ_MODULE": MODULES[harness],
        "PYTHONHOME": sys.base_prefix,
        # The machines are those of the server; the codecs that they find are the sanitized ones.
        "PYTHONPATH": f"{LIBRARY}:{HERE}:{ROOT}:{sysconfig.get_path('purelib')}",
        # Python's own arenas would hide a read behind an object's end.
        "PYTHONMALLOC": "malloc",
        "PYTHONDONTWRITEBYTECODE": "1",
        "ASAN_OPTIONS": "detect_leaks=0:quarantine_size_mb=64",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }


def run(harness: str, seconds: int, runs: int) -> tuple[int, int]:
    """Cases run, and the exit status of libFuzzer."""
    corpus = CORPUS / harness / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    subprocess.run(
        [sys.executable, "-c", WRITE_SEEDS, MODULES[harness], harness, str(corpus)],
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{HERE}"},
        check=True,
    )
    # Memory that a case keeps grows to the limit within a long run, and is a finding then.
    limits = ["-max_len=4200", "-timeout=10", "-rss_limit_mb=1024"]
    bounds = [f"-max_total_time={seconds}", f"-runs={runs}", "-print_final_stats=1"]
    command = [str(EXECUTABLE), str(corpus), *limits, *bounds, f"-artifact_prefix={CORPUS / harness}/"]
    done = subprocess.run(command, env=environment_of(harness), capture_output=True, text=True, errors="replace")
    executed = re.search(r"number_of_executed_units:\s*(\d+)", done.stderr)
    if done.returncode:
        print("\n".join(done.stderr.splitlines()[-80:]))
    return int(executed[1]) if executed else 0, done.returncode


WRITE_SEEDS = """
import hashlib, importlib, pathlib, sys
for seed in importlib.import_module(sys.argv[1]).seeds(sys.argv[2]):
    pathlib.Path(sys.argv[3], hashlib.sha1(seed).hexdigest()).write_bytes(seed)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description="Fuzz the native codecs.")
    parser.add_argument("--seconds", type=int, default=20, help="bound of each harness; 0: none")
    parser.add_argument("--runs", type=int, default=-1, help="cases of each harness; -1: no bound")
    parser.add_argument("--only", default=",".join(MODULES), help="names, comma between")
    options = parser.parse_args()
    if options.seconds <= 0 and options.runs < 0:
        parser.error("a bound is needed: --seconds or --runs")
    build()
    total = failures = 0
    for harness in options.only.split(","):
        start = time.monotonic()
        count, status = run(harness, options.seconds, options.runs)
        total += count
        failures += status != 0
        outcome = f"failed ({status})" if status else "ok"
        print(f"{harness:10} {count:10} cases {time.monotonic() - start:7.1f} s  {outcome}", flush=True)
    print(f"{'total':10} {total:10} cases, {failures} harness(es) with findings")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
