"""What SNMP managers may read: net-snmp's `pass_persist` asks `rota.snmp.agent`; ROTA-MIB.txt names everything."""
