"""Runs pytest on a suite and ends with the line `N passed, N failed`, tests counted singly."""

import sys
import traceback

import pytest


class Tally:
    """Counts tests: one that errs in its set-up or clean-up has failed."""

    def __init__(self):
        self.passed = set()
        self.failed = set()

    def pytest_runtest_logreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)
        elif report.when == "call" and report.passed:
            self.passed.add(report.nodeid)

    def pytest_collectreport(self, report):
        if report.failed:
            self.failed.add(report.nodeid)


def main():
    tally = Tally()
    suite, *arguments = sys.argv[1:]
    options = [f"--rootdir={suite}", f"--config-file={suite}/pytest.ini", "-q"]
    try:
        status = pytest.main([*options, *arguments], [tally])
    except Exception:
        traceback.print_exc()
        status = pytest.ExitCode.INTERNAL_ERROR
    if status not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        tally.failed.add("pytest itself")
    print(f"{len(tally.passed - tally.failed)} passed, {len(tally.failed)} failed")
    return 1 if tally.failed else 0


if __name__ == "__main__":
    sys.exit(main())
