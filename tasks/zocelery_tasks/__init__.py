"""The tasks that ship with zocelery."""

from zocelery_tasks import basics as basics
