#!/usr/bin/python3
"""Sums what ctest ran, by the cases inside each program, and says why anything was skipped.

usage: summary.py [--passed N] [--failed N] REPORT.xml...    (ctest --output-junit)
Exit status 1 on a failure, on a missing report, and with CI=true on a skip too.
"""
import argparse
import os
import re
import sys
import xml.etree.ElementTree as xml


def count(name, status, output, skipped_by_code):
    """(passed, failed, skip reasons) of one ctest entry: GoogleTest's and the harness's own counts where it has them."""
    gtest = re.search(r"^\[==========\] \d+ tests? from .* ran", output, re.M)
    harness = re.search(r"^(\d+) passed, (\d+) failed, (\d+) skipped$", output, re.M)
    if gtest:
        reasons = re.findall(r"^\[ RUN      \] (\S+)\n((?:(?!^\[).*\n)*?)\[  SKIPPED \] \S+ \(", output, re.M)
        skipped = [f"{test}: {' '.join(text.split())}" for test, text in reasons]
        passed = sum(int(n) for n in re.findall(r"^\[  PASSED  \] (\d+) tests?\.", output, re.M))
        failed = sum(int(n) for n in re.findall(r"^\[  FAILED  \] (\d+) tests?, listed below:", output, re.M))
    elif harness:
        passed, failed, _ = (int(n) for n in harness.groups())
        skipped = re.findall(r"^SKIP  (.*)$", output, re.M)
    elif status == "notrun" and skipped_by_code:
        return 0, 0, [f"{name}: {' '.join(output.split())[-200:] or 'no reason given'}"]
    else:
        passed, failed, skipped = int(status == "run"), int(status != "run"), []
    if status == "fail" and failed == 0:
        failed = 1  # a crash after the last case, a leak, a time limit
    return passed, failed, skipped


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--passed", type=int, default=0)
    parser.add_argument("--failed", type=int, default=0)
    parser.add_argument("reports", nargs="*")
    options = parser.parse_args()
    passed, failed, skipped = options.passed, options.failed, []
    for path in options.reports:
        kind = os.path.basename(path)[:-4]
        if not os.path.exists(path):
            print(f"FAILED   {kind}: no report, ctest did not get that far")
            failed += 1
            continue
        # What a test prints may hold evidence; control characters have no place in XML.
        with open(path, encoding="utf-8", errors="replace") as file:
            text = re.sub(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ufffe\uffff]", "?", file.read())
        for case in xml.fromstring(text).iter("testcase"):
            name = f"{kind} {case.get('name')}"
            output = case.findtext("system-out") or ""
            good, bad, why = count(name, case.get("status"), output,
                                   any("SKIP_RETURN_CODE" in s.get("message", "") for s in case.iter("skipped")))
            passed, failed = passed + good, failed + bad
            skipped += [f"{kind} {reason}" for reason in why]
            if bad:
                print(f"FAILED   {name}\n  " + "\n  ".join(output.splitlines()[-60:]))
    for reason in skipped:
        print(f"SKIPPED  {reason}")
    print(f"{passed} passed, {failed} failed, {len(skipped)} skipped")
    if failed or passed == 0:
        return 1
    if skipped and os.environ.get("CI") == "true":
        print("on CI nothing may be skipped", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
