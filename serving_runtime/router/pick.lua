-- Which of a version's pods is asked, and which are left alone for a while: nothing here but arithmetic on what it is
-- handed. A pod is a table: `here` and `elsewhere`, what it is answering now for this worker and for the others; `seed`;
-- `out_until`, when it may be asked again; `refusals` and `failures`, how many there were in a row.
local bit = require "bit"
local bxor, lshift, rshift, tobit = bit.bxor, bit.lshift, bit.rshift, bit.tobit

local pick = {}
-- Consistent hashing with bounded loads (arXiv 1608.01350): no pod has more than so many times the mean. A few at once
-- hinder one another nowhere, so they stay together.
local MOST_OF_MEAN, FEW = 1.25, 4
local REFUSALS, FAILURES = 2, 5
local SHORTEST_PAUSE, LONGEST_PAUSE = 5, 300 -- seconds
local NONE = {}

-- Bob Jenkins' mixing of 32 bits: a change of one changes half of them, so that hashes that are alike are no more.
local function mixed(a)
  a = tobit(tobit(a + 0x7ed55d16) + lshift(a, 12))
  a = bxor(bxor(a, 0xc761c23c), rshift(a, 19))
  a = tobit(tobit(a + 0x165667b1) + lshift(a, 5))
  a = bxor(tobit(a + 0xd3a2646c), lshift(a, 9))
  a = tobit(tobit(a + 0xfd7046c5) + lshift(a, 3))
  return bxor(bxor(a, 0xb55a4f09), rshift(a, 16))
end

local function is_out_longer(one, other)
  if one.out_until == other.out_until then return one.seed < other.seed end
  return one.out_until > other.out_until
end

-- Whether that is a time until which one is left alone now: a clock that was set back leaves one that is too far ahead.
function pick.is_out(until_when, now)
  return until_when > now and until_when <= now + LONGEST_PAUSE
end

-- Those that are left alone now, as a set: never more than half, so one alone never is.
local function left_alone(list, now)
  local out
  for i = 1, #list do
    if pick.is_out(list[i].out_until, now) then
      out = out or {}
      out[#out + 1] = list[i]
    end
  end
  if not out then return NONE end
  table.sort(out, is_out_longer)
  local held = {}
  for i = 1, math.min(#out, math.floor(#list / 2)) do held[out[i]] = true end
  return held
end

-- How many may be asked, and what they answer now together.
local function counted(list, held, tried)
  local count, load = 0, 0
  for i = 1, #list do
    local pod = list[i]
    if not held[pod] and not tried[pod] then count, load = count + 1, load + pod.here + pod.elsewhere end
  end
  return count, load
end

-- The one that this text always goes to; where that has more than its share, the next one.
local function affine(list, held, tried, hash, most)
  local best, best_score
  for i = 1, #list do
    local pod = list[i]
    if not held[pod] and not tried[pod] and pod.here + pod.elsewhere < most then
      local score = mixed(bxor(hash, pod.seed))
      if not best or score > best_score then best, best_score = pod, score end
    end
  end
  return best
end

local function nth(list, held, tried, number)
  for i = 1, #list do
    if not held[list[i]] and not tried[list[i]] then
      number = number - 1
      if number == 0 then return list[i] end
    end
  end
end

local function lesser_of_two(list, held, tried, count, random)
  local first = random(count)
  local one = nth(list, held, tried, first)
  if count == 1 then return one end
  local other = nth(list, held, tried, (first + random(count - 1) - 1) % count + 1)
  return one.here + one.elsewhere <= other.here + other.elsewhere and one or other
end

-- The pod to ask, of those that were not tried; nil where all were. `hash` is of a text whose beginning a pod may
-- remember, or nil; `random(n)` is a number from 1 to n.
function pick.choose(list, hash, tried, now, random)
  tried = tried or NONE
  if #list == 1 and not tried[list[1]] then return list[1] end
  local held = left_alone(list, now)
  local count, load = counted(list, held, tried)
  if count == 0 then -- those that are left alone are better than nobody
    held = NONE
    count, load = counted(list, held, tried)
  end
  if count == 0 then return nil end
  if not hash then return lesser_of_two(list, held, tried, count, random) end
  return affine(list, held, tried, hash, math.max(FEW, math.ceil(MOST_OF_MEAN * (load + 1) / count)))
end

function pick.succeeded(pod)
  pod.refusals, pod.failures = 0, 0
end

-- Whether one that failed is to be left alone. Back from it, its first failure is enough.
function pick.failed(pod, was_refused, now)
  if pick.is_out(pod.out_until, now) then return false end -- it was asked before that
  pod.refusals, pod.failures = was_refused and pod.refusals + 1 or 0, pod.failures + 1
  if pod.refusals < REFUSALS and pod.failures < FAILURES then return false end
  pod.refusals, pod.failures = REFUSALS - 1, FAILURES - 1
  return true
end

-- For how many seconds, the how manieth time in a while.
function pick.pause(times)
  return math.min(SHORTEST_PAUSE * 2 ^ (times - 1), LONGEST_PAUSE)
end

return pick
