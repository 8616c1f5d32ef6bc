"""An engine's log to causes and changed commands; reads text, runs nothing."""
