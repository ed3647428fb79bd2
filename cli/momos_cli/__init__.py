"""The command line of momos-compress: parses, calls the library, renders."""
