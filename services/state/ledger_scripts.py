"""The steps of the send ledger as scripts, each on one key: atomic, conditional, and possible on a Redis Cluster."""

from __future__ import annotations

from typing import Final

# KEYS[1] = ledger:{p7}:<message>. `note` adds a line to the history: "<state> <wall ms> <detail>".
_COMMON = """
local function note(state, at, detail)
  local past = redis.call('HGET', KEYS[1], 'history') or ''
  past = past .. state .. ' ' .. at .. ' ' .. detail .. '\\n'
  redis.call('HSET', KEYS[1], 'state', state, 'at', at, 'history', past)
end
local e = redis.call('HMGET', KEYS[1], 'state', 'owner', 'token', 'reason', 'ref', 'attempts')
local state, owner, token = e[1], e[2], e[3]
"""

# ARGV: owner, at, command. Answers the entry as it was before.
_CLAIM = (
    _COMMON
    + """
if not state then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', '', 'attempts', '0', 'command', ARGV[3])
  note('claimed', ARGV[2], ARGV[1])
elseif state == 'claimed' then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1])
  if owner ~= ARGV[1] then note('claimed', ARGV[2], ARGV[1]) end
end
return e
"""
)

# ARGV: owner, token, at, retake ('1' or '0'). Answers 1 = call the provider, 0 = do not.
_HAND = (
    _COMMON
    + """
if not state then return 0 end
if state == 'handing' and token == ARGV[2] then return 1 end
if (state == 'claimed' and owner == ARGV[1]) or (state == 'handing' and ARGV[4] == '1') then
  redis.call('HSET', KEYS[1], 'owner', ARGV[1], 'token', ARGV[2])
  redis.call('HINCRBY', KEYS[1], 'attempts', 1)
  note('handing', ARGV[3], ARGV[2])
  return 1
end
return 0
"""
)

# ARGV: token, at, reason. Answers 1 = released.
_RELEASE = (
    _COMMON
    + """
if token ~= ARGV[1] then return 0 end
if state == 'claimed' then return 1 end
if state ~= 'handing' then return 0 end
note('claimed', ARGV[2], ARGV[3])
return 1
"""
)

# ARGV: state, owner, token, reason, ref, at, expire-at, command. Answers the state the entry has now, '' =
# refused.
_SETTLE = (
    _COMMON
    + """
local weight = {claimed=0, handing=0, unknown=1, expired=2, failed=2, suppressed=2, delivered=3}
local want = ARGV[1]
if state and weight[state] >= weight[want] then return state end
if want == 'expired' and (state == 'handing' or (state == 'claimed' and owner ~= ARGV[2])) then return '' end
if want == 'unknown' and state == 'handing' and token ~= ARGV[3] then return '' end
if want == 'suppressed' and state == 'handing' then return '' end
if not state then
  redis.call('HSET', KEYS[1], 'owner', '', 'token', '', 'attempts', '0', 'command', ARGV[8])
end
redis.call('HSET', KEYS[1], 'reason', ARGV[4], 'ref', ARGV[5])
note(want, ARGV[6], ARGV[4])
redis.call('PEXPIREAT', KEYS[1], ARGV[7])
return want
"""
)

# KEYS[1] = deliver:{p7}:fence. ARGV: before, after, run id. The run is asked for inside the script:
# a failover between asking and writing would otherwise hide that the last writes are gone.
_ADVANCE = """
local run = string.match(redis.call('INFO', 'server'), 'run_id:(%x+)')
if not run or not string.find(ARGV[3], run, 1, true) then return 'run' end
local now = redis.call('GET', KEYS[1]) or ''
if now == ARGV[2] then return 'ok' end
if now ~= ARGV[1] then return 'moved' end
redis.call('SET', KEYS[1], ARGV[2])
return 'ok'
"""

SCRIPTS: Final = {
    "claim": _CLAIM, "hand": _HAND, "release": _RELEASE, "settle": _SETTLE, "advance": _ADVANCE,
}  # fmt: skip
