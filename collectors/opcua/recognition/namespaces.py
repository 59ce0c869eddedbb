"""The companion specifications' namespaces, and the types that tell a machine's class."""

from __future__ import annotations

from typing import Any, Final

from collectors.model import DeviceClass
from collectors.opcua.address_space import UA

DI: Final = UA + "DI/"
MACHINERY: Final = UA + "Machinery/"
MACHINE_TOOL: Final = UA + "MachineTool/"
ROBOTICS: Final = UA + "Robotics/"
IMM2MES: Final = UA + "PlasticsRubber/IMM2MES/"

MACHINES: Final = (MACHINERY, 1001)
DEVICE_SET: Final = (DI, 5001)
MOTION_DEVICE: Final = (ROBOTICS, 1004)

CLASS_OF_TYPE: Final[dict[tuple[str, Any], DeviceClass]] = {
    (MACHINE_TOOL, 13): "cnc",
    (ROBOTICS, 1002): "robot",
    MOTION_DEVICE: "robot",
    (IMM2MES, 1007): "injection-moulding",
}
"""MachineToolType, MotionDeviceSystemType, MotionDeviceType and IMM_MES_InterfaceType, by namespace URI and id."""
