"""redjobs beside its peers: one run, one kind of server, one handler. `scripts/bench --help`.

__main__      the command line
roster        who takes part, at which versions and with which settings
peers/        an adapter for each, run in an environment of its own
cases/        what is measured
block         one measurement: a fresh server, a producer process, workers
agent         the producer process, in the peer's environment; `producer` is its other end
board         shared memory in which handlers count themselves: every run is proved by it
results       what was found, as JSON
targets       what redjobs should reach, and whether it does; `judge` asks the results
tables, plots, page   for people: text, SVG, docs/performance.md
"""
