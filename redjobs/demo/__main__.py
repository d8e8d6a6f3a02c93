"""`python -m redjobs.demo` runs the whole demo, like `redjobs demo`."""

from redjobs.demo import main, process

if __name__ == "__main__":  # not when honcho forks by importing it again, as on macOS
    process.run(main)
