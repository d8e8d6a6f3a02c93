"""What may fail, what holds then, and the tests that show it: the table in docs/reliability.md.

A test says which rows of the table it is about: `@pytest.mark.row(7)`, or several numbers.
`python -m tests.fault_matrix` runs all of these tests, the slow ones too, and writes the table;
with numbers it does so for these rows only.
"""
