#!/usr/bin/python3
"""Runs the integration tests.

usage: run.py --ctriage PATH [--faulty PATH] [--tests DIR] [PATTERN...]      a pattern is part of a file's or test's name
Exit status: 0 all passed, 1 a failure, 77 nothing could run here. The last line counts.
"""
import argparse
import glob
import os
import signal
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)
sys.dont_write_bytecode = True


class Result(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.passed = 0
        self.began = 0.0

    def startTest(self, test):
        super().startTest(test)
        self.began = time.monotonic()

    def say(self, word, test, detail=""):
        print(f"{word:5} {test.id()}  {time.monotonic() - self.began:.1f} s" + (f"\n{detail}" if detail else ""), flush=True)

    def addSuccess(self, test):
        super().addSuccess(test)
        self.passed += 1
        self.say("ok", test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.say("FAIL", test, self.failures[-1][1])

    def addError(self, test, err):
        super().addError(test, err)
        self.say("ERROR", test, self.errors[-1][1])

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.say("FAIL", subtest, self._exc_info_to_string(err, test))

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        print(f"SKIP  {test.id()}: {reason}", flush=True)


def tests_in(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from tests_in(test)
        else:
            yield test


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("--ctriage", default=os.environ.get("CTRIAGE"))
    parser.add_argument("--faulty", default=os.environ.get("CTRIAGE_FAULTY"))
    parser.add_argument("--tests", default=HERE)
    parser.add_argument("patterns", nargs="*")
    options = parser.parse_args()
    for name, value in (("CTRIAGE", options.ctriage), ("CTRIAGE_FAULTY", options.faulty)):
        if value:
            os.environ[name] = os.path.abspath(value)
    os.environ["PATH"] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

    # Ends in order before ctest's time limit, which kills: what is mounted is unmounted, what ran is counted.
    def out_of_time(number, _):
        raise SystemExit(f"FAIL  ended by {signal.Signals(number).name}")

    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGALRM):
        signal.signal(number, out_of_time)
    signal.alarm(int(os.environ.get("CTRIAGE_TEST_SECONDS", "0")))

    chosen = unittest.TestSuite()
    sys.path.insert(0, options.tests)
    for path in sorted(glob.glob(os.path.join(options.tests, "test_*.py"))):
        module = os.path.basename(path)[:-3]
        for test in tests_in(unittest.defaultTestLoader.loadTestsFromName(module)):
            if not options.patterns or any(p in test.id() or p == module + ".py" for p in options.patterns):
                chosen.addTest(test)
    result = Result()
    chosen.run(result)
    failed = len(result.failures) + len(result.errors)
    print(f"{result.passed} passed, {failed} failed, {len(result.skipped)} skipped")
    if failed:
        return 1
    if result.passed == 0:
        return 77
    return 0


if __name__ == "__main__":
    sys.exit(main())
