"""Images of every detector that DIALS knows, through a child process of DIALS's own."""
