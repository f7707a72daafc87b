"""The tasks that ship with zocelery; importing this makes them known."""

from zocelery_tasks import basics as basics
from zocelery_tasks import doorways as doorways
from zocelery_tasks.wrappers import command as command
