"""The tasks that ship with zocelery; importing this makes them known."""

from zocelery_tasks import announcements as announcements
from zocelery_tasks import basics as basics
from zocelery_tasks import doorways as doorways
from zocelery_tasks import hit_rates as hit_rates
from zocelery_tasks import lims as lims
from zocelery_tasks import trigger as trigger
from zocelery_tasks.wrappers import command as command
from zocelery_tasks.wrappers import dials as dials
from zocelery_tasks.wrappers import xia2 as xia2
from zocelery_tasks.wrappers import xia2_multiplex as xia2_multiplex
from zocelery_tasks.wrappers import xia2_ssx as xia2_ssx
from zocelery_tasks.wrappers import zocalo_form as zocalo_form
