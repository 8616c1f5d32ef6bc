"""The application that serves browsers and programs: REST endpoints, the web pages, what protects both."""
