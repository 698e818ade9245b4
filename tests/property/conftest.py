"""Says how many cases the property tests tried."""

from property_cases import CASES


def pytest_terminal_summary(terminalreporter):
    """One line in all, and with -v one for each test."""
    if not CASES:
        return
    if terminalreporter.config.get_verbosity() > 0:
        for name, number in sorted(CASES.items()):
            terminalreporter.write_line(f"{number:7d} cases: {name}")
    terminalreporter.write_line(f"property tests: {CASES.total()} cases of {len(CASES)} properties")
