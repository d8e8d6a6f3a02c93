"""The tutorial: one concept per test, in the order of the files; public API only.

Each test runs against a real server, with a real worker where something is to be run. `queue` is
`Queue("default", url=...)`, and `work()` is `redjobs worker --app <this file> --burst`: it runs what
is due, and returns how many jobs failed.
"""
