-- What becomes of a request whose version has no pod, and which starts one: it is held where one is expected soon, and
-- told when to come again otherwise. The operator hears of it with all requests that are under way or just were.
--
-- A held one has been read already, as any that is passed on; so few are held that their bodies are no matter, and for
-- less time than most clients and proxies give an answer to begin.
local endpoints = require "endpoints"

local waking = { longest = 50 } -- seconds
local MOST, LOOK, SOONEST, LONGEST_TOLD = 64, 0.1, 5, 3600
local held = 0
local asked = {} -- by version, since when this worker has been asked in vain, and when it was last

-- In how many seconds a pod is expected. What nobody has asked for as long as a start takes begins anew; but who comes
-- just when they were told to finds the start that is under way.
local function remaining(version, expected)
  local now, before = ngx.now(), asked[version]
  if not before or now < before.last or now > before.last + expected + waking.longest then
    before = { first = now }
    asked[version] = before
  end
  before.last = now
  ngx.shared.waking:set(version, now, LONGEST_TOLD)
  return before.first + expected - now
end

local function told(seconds)
  return math.max(SOONEST, math.ceil(seconds))
end

local function is_over(version)
  return endpoints.has(version) or ngx.worker.exiting()
end

-- Hold the request until its version has a pod; returns after how many seconds to come again, where it has none yet. It
-- waits for so many looks, not until a time: clocks go back.
function waking.await(version, expected)
  local left = remaining(version, expected)
  if left > waking.longest or held >= MOST then return told(left) end
  local looks, is_held = math.ceil(waking.longest / LOOK), true
  held = held + 1
  ngx.on_abort(function()
    if is_held then held = held - 1 end
    ngx.exit(499)
  end)
  while looks > 0 and not is_over(version) do
    looks = looks - 1
    ngx.sleep(LOOK)
  end
  held, is_held = held - 1, false
  if not endpoints.has(version) then return told(remaining(version, expected)) end
  asked[version] = nil
end

-- How many seconds ago each was asked in vain, of all workers: metrics have no place for ever so many versions.
function waking.asked_ago(ages)
  for _, version in ipairs(ngx.shared.waking:get_keys(0)) do
    local at = ngx.shared.waking:get(version)
    if at then ages[version] = math.min(ages[version] or math.huge, math.max(0, ngx.now() - at)) end
  end
  return ages
end

return waking
