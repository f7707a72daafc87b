"""The scripts that change the live state of runs, whole or not at all, in Lua.

Redis runs a script without anything in between; `store` says which keys and arguments
each is given.
"""

CREATE = """
if not redis.call('SET', KEYS[1], ARGV[1], 'NX', 'EX', ARGV[2]) then return 0 end
redis.call('HSET', KEYS[2], 'state', 'submitting', 'open', 0, 'submitted', ARGV[3])
redis.call('SADD', KEYS[3], ARGV[4])
return 1
"""
"""Stores a run, if its id is free."""

OPEN = """
local added = 0
for i = 2, #ARGV do
  if redis.call('SADD', KEYS[2], ARGV[i]) == 1 then added = added + 1 end
end
if added > 0 then
  redis.call('HINCRBY', KEYS[1], 'open', added)
  redis.call('HINCRBY', KEYS[3], ARGV[1] .. ':total', added)
end
return added
"""
"""Counts units that are about to be published, each once."""

WITHDRAW = """
local gone = 0
for i = 2, #ARGV do
  if redis.call('SISMEMBER', KEYS[4], ARGV[i]) == 0
      and redis.call('SREM', KEYS[2], ARGV[i]) == 1 then gone = gone + 1 end
end
if gone > 0 then
  redis.call('HINCRBY', KEYS[1], 'open', -gone)
  redis.call('HINCRBY', KEYS[3], ARGV[1] .. ':total', -gone)
end
return gone
"""
"""Takes back units that were counted and never published."""

FINISH = """
if redis.call('EXISTS', KEYS[1]) == 0 then return {0, 1} end  -- Redis has lost it
for i = 7, #KEYS do
  local at = 2 * (i - 7) + 5
  redis.call('HSETNX', KEYS[i], ARGV[at], ARGV[at + 1])
end
local open = tonumber(redis.call('HGET', KEYS[1], 'open') or 0)
if redis.call('SADD', KEYS[2], ARGV[1]) == 0 then return {0, open} end
redis.call('HINCRBY', KEYS[3], ARGV[4] .. ':' .. ARGV[2], 1)
redis.call('XADD', KEYS[4], '*', 'e', ARGV[3])
if redis.call('SADD', KEYS[5], ARGV[1]) == 1 then  -- it was withdrawn, yet published
  redis.call('HINCRBY', KEYS[3], ARGV[4] .. ':total', 1)
elseif redis.call('SREM', KEYS[6], ARGV[1]) == 1 then  -- it was parked and run again
  redis.call('HINCRBY', KEYS[3], ARGV[4] .. ':parked', -1)
else
  open = redis.call('HINCRBY', KEYS[1], 'open', -1)
end
return {1, open}
"""
"""Records the end of a unit and what it leaves for gathers, once."""

_SETTLE = """
local function finish(KEYS, ARGV) %s end
local function arrive(KEYS, ARGV) %s end
local function rest(list, first)
  local found = {}
  for i = first, #list do found[#found + 1] = list[i] end
  return found
end
local keys, args = tonumber(ARGV[1]), tonumber(ARGV[2])
local open = finish(rest(KEYS, keys + 1), rest(ARGV, args + 3))[2]
local parked = redis.call('SCARD', KEYS[keys + 6])
if keys == 0 then return {open, 0, parked} end
local size, more = redis.call('GET', KEYS[3]), redis.call('GET', KEYS[2])
local all = size and tonumber(size) + tonumber(more or 0)
if all and redis.call('SCARD', KEYS[4]) + 1 >= all then return {open, 0, parked} end
arrive(KEYS, rest(ARGV, 3))
return {open, 1, parked}
"""


def settle(part_script: str) -> str:
    """Return the script that records an end and lets a part of a chord arrive with it.

    A part that may complete its chord is left to Celery, which then publishes the body.

    Args:
        part_script: Celery's own, which counts a part. What it is given comes first,
            and before the arguments stands how many keys and arguments these are.
    """
    return _SETTLE % (FINISH, part_script)


PARK = """
if redis.call('SISMEMBER', KEYS[5], ARGV[1]) == 0
    and redis.call('SADD', KEYS[2], ARGV[1]) == 1 then
  redis.call('HINCRBY', KEYS[3], ARGV[2], 1)
  redis.call('HSET', KEYS[6], ARGV[1], redis.call('XADD', KEYS[4], '*', 'e', ARGV[3]))
  return redis.call('HINCRBY', KEYS[1], 'open', -1)
end
return tonumber(redis.call('HGET', KEYS[1], 'open') or 0)
"""
"""Records that a unit waits as a dead letter, once."""

SET_RUNNING = """
if redis.call('HGET', KEYS[1], 'state') == 'submitting' then
  redis.call('HSET', KEYS[1], 'state', 'running')
end
"""
"""Ends the submission of a run, unless it has ended already."""
