#!/usr/bin/python3
"""clang-tidy on the modules of lib/ that it has been through (MODULES), two files at a time. A file that passed is not looked at again until it, a header of ours
that it includes, its compile command, the checks or clang-tidy itself change.

usage: tidy.py BUILD_DIR      with compile_commands.json and ninja's dependencies: build it first
"""
import concurrent.futures
import hashlib
import json
import os
import re
import subprocess
import sys

# source, collect, report and cmd/ are still to come: join them here once they are clean.
MODULES = tuple(f"/lib/{name}/" for name in ("core", "model", "archive", "proc", "overlay", "runtime", "rules", "bundle"))
ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def digest_of(path, known={}):  # noqa: B006  (a memo for this run)
    if path not in known:
        with open(path, "rb") as file:
            known[path] = hashlib.sha256(file.read()).hexdigest()
    return known[path]


def dependencies(build):
    """Object file to our own files that it was made of, as ninja recorded them."""
    found, target = {}, None
    for line in subprocess.check_output(["ninja", "-C", build, "-t", "deps"], text=True).splitlines():
        if line.startswith(" "):
            path = os.path.normpath(os.path.join(build, line.strip()))
            if path.startswith(ROOT + "/") and not path.startswith(build + "/"):
                found[target].append(path)
        elif line:
            target = line.split(":")[0]
            found[target] = []
    return found


def main():
    build = os.path.abspath(sys.argv[1])
    cache = os.path.join(ROOT, "build/tidy")
    os.makedirs(cache, exist_ok=True)
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as file:
        commands = json.load(file)
    needs = dependencies(build)
    common = subprocess.check_output(["clang-tidy", "--version"], text=True) + digest_of(os.path.join(ROOT, ".clang-tidy"))
    work, seen = [], set()
    for entry in commands:
        source = os.path.normpath(os.path.join(entry["directory"], entry["file"]))
        if not source.startswith(tuple(ROOT + module for module in MODULES)) or source in seen:
            continue
        seen.add(source)
        made_of = sorted(set(needs.get(entry.get("output", ""), [])) | {source})
        key = hashlib.sha256("\n".join([common, entry["command"], *(p + digest_of(p) for p in made_of)]).encode()).hexdigest()
        stamp = os.path.join(cache, key)
        if not os.path.exists(stamp):
            work.append((source, stamp))

    def check(item):
        source, stamp = item
        ran = subprocess.run(["clang-tidy", "--quiet", "-p", build, source], stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                             text=True, check=False)
        text = re.sub(r"^\d+ warnings? .*\n|^Suppressed .*\n|^Use -header-filter.*\n", "", ran.stdout, flags=re.M)
        if ran.returncode == 0:
            open(stamp, "w", encoding="ascii").close()
        return ran.returncode, os.path.relpath(source, ROOT), text

    failed = 0
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        for status, source, text in pool.map(check, work):
            if status != 0:
                failed += 1
                print(f"FAILED {source}\n{text}", flush=True)
    print(f"{len(seen)} files, {len(work)} looked at, {failed} with something to say")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
