"""Data as versions of redjobs have written it, one file for each, which every later version must read.

    jobs   the functions of the jobs in it
    data   what a server holds as text, and back
    write  `python -m tests.worker.golden.write` writes the file of this version

Bytes stand in a file as Latin-1. A moment is `@` and the milliseconds since it was written: what was
due in a day is due in a day whenever it is loaded.
"""
