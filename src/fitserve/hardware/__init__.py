"""What machines are: accelerators, links and hosts; the catalogue; which row a name means; what this machine is."""
