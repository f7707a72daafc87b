"""Programs as tasks: each wrapper runs one program and reads what came out of it."""
