-- What this router knows of each pod: what it is answering now, and whether it fails. A worker counts its own answers
-- and tells the others forty times a second; what it told lives for a second, so the counts of one that died are gone by
-- themselves. A single worker tells nobody.
local pick = require "pick"

local peers = {}
local PERIOD, LIFE, FORGOTTEN = 0.025, 1, 600 -- seconds
local held = ngx.shared.endpoints
local own, workers = 0, 1
local known = setmetatable({}, { __mode = "v" }) -- one that comes back while it still answers is the same

-- The pod at this address; without a uid, a Service's own address.
function peers.of(address, port, name, uid)
  local key = address .. ":" .. port .. "/" .. (uid or "")
  local peer = known[key]
  if peer then return peer end
  peer = {
    key = key, name = name, seed = ngx.crc32_long(key), port = port,
    address = address:find(":", 1, true) and "[" .. address .. "]" or address,
    here = 0, elsewhere = 0, refusals = 0, failures = 0, out_until = 0, is_told = false, slots = {},
  }
  for worker = 0, workers - 1 do peer.slots[worker] = worker .. "|" .. key end
  known[key] = peer
  return peer
end

local function share(premature)
  if premature then return end
  for key, peer in pairs(known) do
    if peer.here > 0 then
      held:set(peer.slots[own], peer.here, LIFE)
    elseif peer.is_told then
      held:delete(peer.slots[own])
    end
    peer.is_told = peer.here > 0
    local elsewhere = 0
    for worker = 0, workers - 1 do
      if worker ~= own then elsewhere = elsewhere + (held:get(peer.slots[worker]) or 0) end
    end
    peer.elsewhere = elsewhere
    peer.out_until = held:get("out|" .. key) or 0
  end
end

function peers.start()
  own, workers = ngx.worker.id(), ngx.worker.count()
  math.randomseed(ngx.worker.pid() + ngx.now() * 1000)
  if workers > 1 then ngx.timer.every(PERIOD, share) end
end

local function leave_alone(peer, now)
  local times = (held:get("times|" .. peer.key) or 0) + 1
  local pause, out = pick.pause(times), "out|" .. peer.key
  if not pick.is_out(held:get(out) or 0, now) then held:delete(out) end -- of before the clock was set back
  if held:add(out, now + pause, pause) then -- else another worker was first
    held:set("times|" .. peer.key, times, FORGOTTEN)
    local told = " fails: where half of them do not, it is not asked for "
    ngx.log(ngx.ERR, "the pod ", peer.name or peer.key, told, pause, " s")
  end
  peer.out_until = now + pause
end

function peers.begin(peer)
  peer.here = peer.here + 1
end

-- It is asked no more; `outcome` is `answered`, `failed` or `refused`, or nil where that says nothing of it. `among` is
-- how many there are to ask. Return whether it is left alone from now on.
function peers.finish(peer, outcome, among)
  peer.here = peer.here - 1
  if outcome == "answered" then return pick.succeeded(peer) end
  local now = ngx.now()
  if outcome and among > 1 and pick.failed(peer, outcome == "refused", now) then
    leave_alone(peer, now)
    return true
  end
end

return peers
