"""Documents about hardware, computed: what fits, how fast, with which command."""
