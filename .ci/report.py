"""Sum up a tox run: name each part that failed or was left out, and close with the totals of its tests."""

from __future__ import annotations

import json
import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

# Listed, but not promised: every other interpreter must be there.
MAY_BE_SKIPPED = {"py314"}


def tests_of(part: str) -> Counter[str]:
    report = Path(".tox", part, "junit.xml")
    suites = ElementTree.parse(report).getroot().iter("testsuite") if report.exists() else ()
    return sum((_counts(suite) for suite in suites), Counter())


def _counts(suite: ElementTree.Element) -> Counter[str]:
    total, failures, errors, skipped = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    failed = failures + errors
    return Counter(passed=total - failed - skipped, failed=failed, skipped=skipped)


def fault_of(part: str, outcome: dict[str, dict[str, bool]]) -> str:
    result = outcome.get("result")
    if result is None:
        return "did not run"
    if not result["success"]:
        return "failed"
    return "was skipped" if result["skipped"] and part not in MAY_BE_SKIPPED else ""


def main(results: Path, parts: list[str]) -> int:
    outcomes = json.loads(results.read_text(encoding="utf-8"))["testenvs"]
    totals: Counter[str] = Counter()
    for part in parts:
        tests, fault = tests_of(part), fault_of(part, outcomes.get(part, {}))
        if fault:
            print(f"{part} {fault}")
        # A part that fails without a failing test is one failure.
        tests["failed"] = max(tests["failed"], bool(fault))
        totals += tests
    print(f"{totals['passed']} passed, {totals['failed']} failed, {totals['skipped']} skipped")
    return bool(totals["failed"] or not totals["passed"])


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), sys.argv[2:]))
