"""The commands that the tasks add to `zocelery`."""

from zocelery_tasks.commands.centre import centre
from zocelery_tasks.commands.find_spots import find_spots
from zocelery_tasks.commands.simulate import simulate

COMMANDS = (find_spots, centre, simulate)
