"""What all tests share: servers of their own, and property tests that come out the same each time."""

from __future__ import annotations

from hypothesis import settings

pytest_plugins = ["tests.servers"]

# No deadline: other work on the same machine is no failure. `--hypothesis-seed` tries other examples.
settings.register_profile("repeatable", deadline=None, derandomize=True, database=None, print_blob=True)
settings.load_profile("repeatable")
