"""The registers that the Modbus benchmark reads: 62 floats and one word, big-endian, from address 0."""

from __future__ import annotations

import struct

FLOATS = tuple(1.5 + index for index in range(62))
WORD = 1234
BLOCK = struct.pack(">62fH", *FLOATS, WORD)
REGISTERS = len(BLOCK) // 2
