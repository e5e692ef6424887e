"""Long runs under faults, started by hand; short ones are among the tests."""
