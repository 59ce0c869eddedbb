"""What a machine counts: each carrier and direction a device of its own, in the vocabulary's units, nothing guessed."""

from __future__ import annotations

import pytest
from asyncua import ua

from collectors.model import Role
from metrics.record import MachineState
from simulators.opcua_nodesets import ROBOTICS
from tests.collectors.opcua.models import (
    CUBIC_METRE,
    DEVICE_SET,
    KILOWATT_HOUR,
    LITRE,
    WATT_HOUR,
    Built,
)
from tests.collectors.opcua.plants import collector, plain_server, watching

DOUBLE, FLOAT = ua.VariantType.Double, ua.VariantType.Float
CONSUMPTION = "press.Monitoring.Consumption"


def press(built: Built) -> None:
    """A machine of OPC 40001-1 without a type of its own."""
    built.machine("press", "", ua.ObjectIds.BaseObjectType)


async def test_each_carrier_and_direction_that_a_machine_counts_is_a_device_of_its_own() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        press(built)
        item_state = "press.MachineryBuildingBlocks.MachineryItemState.CurrentState.Number"
        await built.variable(item_state, 3, ua.VariantType.UInt32)
        await built.variable("press.Identification.SerialNumber", "P-1", ua.VariantType.String)
        main = f"{CONSUMPTION}.Electricity.Main"
        await built.variable(f"{main}.AcActiveEnergyTotalImportHp", 1_234_500.0, DOUBLE, WATT_HOUR)
        await built.variable(f"{main}.AcActiveEnergyTotalExportHp", 5_000.0, DOUBLE, WATT_HOUR)
        await built.variable(f"{main}.AcActivePowerTotal", 7_500.0, FLOAT)
        await built.variable(f"{CONSUMPTION}.CompressedAir.Main.Volume", 20_500.0, FLOAT, LITRE)
        await built.variable(f"{CONSUMPTION}.NaturalGas.Main.Volume", 31.5, FLOAT, CUBIC_METRE)
        await built.variable(f"{CONSUMPTION}.Water.Main.Volume", 4.25, FLOAT)
        await built.variable(f"{CONSUMPTION}.Steam_Saturated.Main.NeEnergyImportHp", 1_000_000.0, DOUBLE)
        await built.variable(f"{CONSUMPTION}.ChilledWater.Main.Volume", 99.0, FLOAT)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: len(s.samples) == 6)
            said = {
                device: (d.device_class, d.carrier, d.unit, d.direction, [(t.name, t.role) for t in d.tags])
                for device, d in seen.devices.items()
            }
            assert said == {
                "cell": (
                    "machine",
                    "electricity",
                    "kWh",
                    "import",
                    [("state", Role.STATE), ("energy_import", Role.QUANTITY), ("power", Role.POWER)],
                ),
                "cell/export": (
                    "meter-electricity",
                    "electricity",
                    "kWh",
                    "export",
                    [("energy_export", Role.QUANTITY)],
                ),
                "cell/gas": ("meter-gas", "gas", "m³", "import", [("gas_volume", Role.QUANTITY)]),
                "cell/compressed-air": (
                    "meter-gas",
                    "compressed-air",
                    "m³",
                    "import",
                    [("compressed_air_volume", Role.QUANTITY)],
                ),
                "cell/water": ("meter-water", "water", "m³", "import", [("water_volume", Role.QUANTITY)]),
                "cell/heat": ("machine", "heat", "GJ", "import", [("heat_import", Role.QUANTITY)]),
            }
            assert {d.identity.serial for d in seen.devices.values()} == {"P-1"}
            assert seen.latest("cell", "state") == MachineState.RUNNING
            assert seen.latest("cell", "energy_import") == 1234.5
            assert seen.latest("cell", "power") == 7.5
            assert seen.latest("cell/export", "energy_export") == 5.0
            assert seen.latest("cell/compressed-air", "compressed_air_volume") == 20.5
            assert seen.latest("cell/gas", "gas_volume") == 31.5
            assert seen.latest("cell/water", "water_volume") == 4.25
            assert seen.latest("cell/heat", "heat_import") == pytest.approx(3.6)
            proven = {p.device for p in seen.proofs if p.lasts_s > 0}
            assert proven == set(said)


@pytest.mark.parametrize(
    ("names", "tags"),
    [
        (["AcActivePowerTotal"], ["power"]),  # E1
        (["AcActivePowerTotal", "AcActiveEnergyTotalImportLp"], ["energy_import", "power"]),  # E2
        (["AcActiveEnergyTotalImportHp", "AcActiveEnergyTotalImportLp"], ["energy_import"]),  # E3: the Double
    ],
)
async def test_energy_profiles_from_power_alone_to_a_counter_that_keeps_every_watt_hour(
    names: list[str], tags: list[str]
) -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        press(built)
        for name in names:
            kind = DOUBLE if name.endswith("Hp") else FLOAT
            await built.variable(f"press.Energy.{name}", 16_777_217.0 if kind is DOUBLE else 1_000.0, kind)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            assert [t.name for t in seen.devices["cell"].tags] == tags
            if "AcActiveEnergyTotalImportHp" in names:
                assert seen.latest("cell", "energy_import") == 16_777.217


async def test_the_main_meter_counts_and_those_of_the_parts_do_not() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        press(built)
        name = "AcActiveEnergyTotalImportHp"
        await built.variable(f"press.Components.Pump.Monitoring.Consumption.Electricity.Main.{name}", 1.0, DOUBLE)
        await built.variable(f"{CONSUMPTION}.Electricity.Main.{name}", 9_000.0, DOUBLE)
        await built.variable(f"{CONSUMPTION}.Electricity.Heater.{name}", 2.0, DOUBLE)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.samples)
            assert seen.latest("cell", "energy_import") == 9.0
            assert list(seen.devices) == ["cell"]
            assert not seen.troubles


async def test_two_energy_meters_without_a_main_one_are_not_guessed_between() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill")
        for part in ("Spindle", "Coolant"):
            await built.variable(f"mill.{part}.AcActiveEnergyTotalImportHp", 1.0, DOUBLE)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: bool(s.troubles))
            assert seen.devices["cell"].tag_index(Role.QUANTITY) is None
            assert next(t.code for t in seen.troubles if t.subject == "cell") == "opcua.several-meters"


async def test_a_counter_whose_unit_is_neither_stated_nor_fixed_or_not_known_is_left_out() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        built.machine("mill")
        await built.variable("mill.Energy.TotalEnergyConsumption", 5.0, DOUBLE)
        await built.variable("mill.Monitoring.Consumption.CompressedAir.Main.Volume", 5.0, FLOAT, 4_274_000)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell" in s.devices)
            assert seen.devices["cell"].tag_index(Role.QUANTITY) is None
            assert list(seen.devices) == ["cell"]


async def test_the_energy_of_a_controller_that_moves_two_robots_belongs_to_neither() -> None:
    async with plain_server() as (server, address):
        built = Built(server)
        system = built.machine("welding", ROBOTICS, 1002, folder=DEVICE_SET)
        for arm in ("Left", "Right"):
            path = built.part(
                f"{system}.MotionDevices.{arm}", ROBOTICS, 1004, wanted=frozenset({"ParameterSet.OnPath"})
            )
            await built.say(f"{path}.SerialNumber", f"R-{arm}", ua.VariantType.String)
            await built.flag(f"{path}.ParameterSet.OnPath", value=True)
        controller = built.part(
            f"{system}.Controllers.C1",
            ROBOTICS,
            1003,
            wanted=frozenset({"ParameterSet", "ParameterSet.TotalEnergyConsumption"}),
        )
        energy = f"{controller}.ParameterSet.TotalEnergyConsumption"
        unit = ua.EUInformation("", KILOWATT_HOUR, ua.LocalizedText("kWh"))
        await built.say(f"{energy}.EngineeringUnits", unit, ua.VariantType.ExtensionObject)
        await built.say(energy, 812.5, DOUBLE)
        await built.say(f"{controller}.SerialNumber", "C-9", ua.VariantType.String)
        async with watching(collector(address())) as seen:
            await seen.until(lambda s: "cell/C-9" in s.samples)
            assert {d: v.device_class for d, v in seen.devices.items()} == {
                "cell/C-9": "meter-electricity",
                "cell/R-Left": "robot",
                "cell/R-Right": "robot",
            }
            assert seen.latest("cell/C-9", "energy_import") == 812.5
            assert seen.devices["cell/R-Left"].tag_index(Role.QUANTITY) is None
