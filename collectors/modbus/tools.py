"""What the person at the cabinet asks of a Modbus address."""

from __future__ import annotations

from collectors.modbus.once import read_once as read_once
from collectors.modbus.scan import scan as scan
