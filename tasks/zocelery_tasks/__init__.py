"""The tasks that ship with zocelery."""
