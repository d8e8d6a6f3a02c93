"""One adapter per peer, each named like what it is about; `tests.bench.roster` has the table."""
