"""What all tests share: servers of their own and conditions to wait for."""

from __future__ import annotations

pytest_plugins = ["tests.servers"]
