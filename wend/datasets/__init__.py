"""Data sets by name: built in, registered, declared ones; the store; the toy set."""
