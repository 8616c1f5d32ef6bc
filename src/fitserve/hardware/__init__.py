"""What machines are: accelerators, links and hosts; the catalogue; which row a name means; what this machine is."""

from fitserve.callable_package import make_callable

make_callable(__name__)
