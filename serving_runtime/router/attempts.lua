-- Who is asked for an answer, and who next where that one certainly does not give it: another pod of the version, and
-- for a variant of an experiment at last the control.
local balancer = require "ngx.balancer"
local endpoints = require "endpoints"
local metrics = require "metrics"
local peers = require "peers"
local pick = require "pick"

local attempts = {}
local BUSY = -3 -- nginx's NGX_BUSY: there is nobody to ask
local MOST = 3 -- router.conf says so, too

-- Whether its engine knows the model by this name: its own, or the one that clients call.
local function knows(target, name)
  return target.model == name or target.public == name
end

function attempts.is_backend(target)
  return type(target.backend) == "table"
end

-- The version that is to answer, its target, and the name that the model is asked by: the one assigned or, where none of
-- its pods is ready, the control; nil where there is nobody. `control` is nil for what no other version may answer.
function attempts.prepare(seen, targets, version, control, name)
  local target, spare = targets[version], control and targets[control]
  local list = endpoints.of(version, target)
  local others = spare and endpoints.of(control, spare)
  if #list == 0 and others and #others > 0 then
    seen.assigned, seen.fallback = { version = version }, true
    version, target, list, spare = control, spare, others, nil
  end
  if #list == 0 then return nil end
  seen.list = list
  local asked = knows(target, name) and name or target.model
  -- All get the same body, so the control must know the model by the same name; and the same key, so a backend has no
  -- control, and is nobody's.
  local is_alike = spare and knows(spare, asked) and not attempts.is_backend(target) and not attempts.is_backend(spare)
  if is_alike and #others > 0 then seen.control, seen.others = control, others end
  return version, target, asked
end

-- Whether the text's beginning matters for the choice.
function attempts.is_choice(seen)
  return #seen.list > 1 or seen.others ~= nil and #seen.others > 1
end

-- How many requests this worker has under way where this one is to go.
function attempts.under_way(seen)
  local count = 0
  for i = 1, #seen.list do count = count + seen.list[i].here end
  return count
end

-- What became of the last attempt. nginx's lists end with it, or, in the balancer, with a place for the one that begins.
local function outcome(ending)
  local connected = ngx.var.upstream_connect_time:match("([%d.-]+)" .. ending)
  local headed = ngx.var.upstream_header_time:match("([%d.-]+)" .. ending)
  local status = ngx.var.upstream_status:match("(%d+)" .. ending)
  if connected == "-" then return "refused", true end
  local answered = headed ~= nil and headed ~= "-"
  return status ~= "503" and "failed" or nil, answered -- one whose queue is full does not fail
end

local function done_with(seen, peer, what)
  if peers.finish(peer, what, #seen.list) then
    metrics.count("ejections_total", { version = seen.version, endpoint = seen.endpoint })
  end
end

-- Whether the server that was asked certainly does not answer any more: it refused the connection, or said 502 or 503.
-- One that broke off may be at it still, or have been ended by this very request.
local function end_last(seen)
  local peer = seen.peer
  local what, may_ask_again = outcome(" : $")
  seen.peer = nil
  done_with(seen, peer, what)
  seen.tried = seen.tried or {}
  seen.tried[peer] = true
  return may_ask_again
end

local function untried(seen)
  local count = 0
  for i = 1, #seen.list do
    if not (seen.tried and seen.tried[seen.list[i]]) then count = count + 1 end
  end
  return count
end

local function fall_back(seen)
  seen.assigned, seen.fallback = { version = seen.version, endpoint = seen.endpoint }, true
  seen.version, seen.list = seen.control, seen.others
  seen.control, seen.others = nil, nil
end

-- The pod for the attempt that begins.
local function following(seen)
  if seen.attempt > 1 then
    if seen.control and (seen.attempt == MOST or untried(seen) == 0) then fall_back(seen) end
    if seen.attempt == 2 and untried(seen) == 0 then seen.tried = nil end -- the only one there is, once more
  end
  return pick.choose(seen.list, seen.hash, seen.tried, ngx.now(), math.random)
end

local function may_follow(seen)
  if seen.attempt == MOST then return false end
  return seen.attempt == 1 or seen.control ~= nil or untried(seen) > 1
end

-- In the balancer, once for each attempt.
function attempts.balance(seen)
  if seen.peer and not end_last(seen) then return ngx.exit(BUSY) end
  seen.attempt = (seen.attempt or 0) + 1
  local peer = following(seen)
  if not peer then return ngx.exit(BUSY) end
  if may_follow(seen) then balancer.set_more_tries(1) end
  seen.peer, seen.endpoint = peer, peer.name
  peers.begin(peer)
  local done, problem = balancer.set_current_peer(peer.address, peer.port)
  if not done then ngx.log(ngx.ERR, "no connection to the engine: ", problem) end
end

-- Whose the answer is: the version, its pod, and whether that is the control in the variant's place. A control that fails,
-- too, or was not waited for answered for nobody.
function attempts.owner(seen)
  local assigned = (ngx.status == 499 or ngx.status >= 500) and seen.assigned
  if assigned then return assigned.version, assigned.endpoint, nil end
  return seen.version, seen.endpoint, seen.fallback
end

-- At the end of the request, however it ended.
function attempts.finish(seen)
  local peer, status = seen.peer, ngx.status
  seen.peer = nil
  if peer and (status == 499 or seen.is_cut) then
    peers.finish(peer) -- the client left, or the router ends, before anything came
  elseif peer then
    done_with(seen, peer, status < 500 and "answered" or (outcome("$")))
  end
  seen.version, seen.endpoint, seen.fallback = attempts.owner(seen)
end

return attempts
