"""Pages for the browser: made on the server, in two languages, without anything from another host."""
