"""Raw samples to the plant's own systems: its InfluxDB, its MQTT broker. Never at the expense of the uplink.

Everything but `config` is imported only where an output is configured.
"""
