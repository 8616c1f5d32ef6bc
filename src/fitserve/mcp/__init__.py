"""The Model Context Protocol server: the verbs as tools for agents, with short answers."""
