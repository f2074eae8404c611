-- For an experiment whose challengers answer nobody: which requests are asked once more of one of them, when the client
-- has its answer and nothing waits for this.
--
-- All of it is bounded: how many begin in a second and are under way at once (each worker has its share of both), how long
-- one takes, and what is held of bodies and answers. Beyond that nothing waits: a copy is dropped, and counted. None is
-- sent twice. It is nobody's request: it names no user, counts for no verdict, and its failures leave no pod alone.
local attempts = require "attempts"
local comparison = require "comparison"
local endpoints = require "endpoints"
local held = require "held"
local keys = require "keys"
local metrics = require "metrics"
local pick = require "pick"
local routes = require "routes"
local upstream = require "upstream"

local shadow = {}
local LONGEST_BODY = 128 * 1024
local SAID = { chat = true, completions = true, responses = true } -- what has words to compare
local states = {} -- by experiment

-- What this worker has of a pod's budget: the shares of all are the whole of it.
local function state_of(split)
  local state = states[split.uid]
  if not state then
    state = { tokens = math.huge, at = ngx.now(), in_flight = 0 }
    states[split.uid] = state
  end
  return state
end

local function take_token(split)
  local state, now = state_of(split), ngx.now()
  local rate = split.shadow.per_second / ngx.worker.count()
  state.tokens = math.min(math.max(1, rate), state.tokens + math.max(0, now - state.at) * rate)
  state.at = now
  if state.tokens < 1 then return false end
  state.tokens = state.tokens - 1
  return true
end

local function is_busy(split)
  local count = ngx.worker.count()
  return state_of(split).in_flight >= math.floor((split.shadow.in_flight + count - 1 - ngx.worker.id()) / count)
end

local function drop(copy, reason)
  copy.answer:leave()
  if copy.body then copy.body:leave() end
  metrics.count("shadow_dropped_total", { model = copy.model, variant = copy.variant.name, reason = reason })
end

local function challenger_of(split)
  local place = math.random(split.shadow.last)
  for _, challenger in ipairs(split.shadow.challengers) do
    if place <= challenger.last then return challenger.variant end
  end
end

-- Whether a request is of the sample: what the control answers is held from here on, in `seen.copy.answer`.
function shadow.sample(split, seen)
  if not SAID[seen.kind] or math.random() * 100 >= split.shadow.percent then return end
  local copy = {
    split = split, variant = challenger_of(split), model = seen.model, uri = ngx.var.uri,
    answer = held.of(comparison.LONGEST_ANSWER),
  }
  if not take_token(split) then return drop(copy, "rate") end
  seen.copy = copy
end

-- The request's body, as the control was asked; nil where it is larger than is copied.
local function body_of()
  local text = ngx.req.get_body_data()
  if not text then
    local file = io.open(ngx.req.get_body_file() or "", "rb")
    text = file and file:read(LONGEST_BODY + 1)
    if file then file:close() end
  end
  local body = held.of(LONGEST_BODY)
  return text and body:add(text) and body or nil
end

-- Where a copy goes; nil where its challenger is nowhere, or its certificate could not be verified as it is to be.
local function destination(copy, hash)
  local target = routes.targets[copy.variant.target]
  local peer = target and pick.choose(endpoints.of(copy.variant.target, target), hash, nil, ngx.now(), math.random)
  if not peer then return nil end
  local to = { peer = peer, address = peer.address, port = peer.port, name = nil, marks = nil }
  to.model = target.public == copy.model and copy.model or target.model
  if attempts.is_backend(target) then
    local asked = upstream.of(copy.variant.target, target.backend, copy.uri)
    if not asked or asked.trusted then return nil end -- Lua's connections know the usual authorities alone
    to.host, to.uri, to.key, to.marks = asked.host, asked.uri, asked.key, asked.marks
    if target.backend.scheme == "https" then to.name = asked.name end
  else
    to.host, to.uri, to.key = peer.address .. ":" .. peer.port, copy.uri, keys.engine
  end
  return to
end

local function goes_on(copy)
  local splits = (routes.models[copy.model] or {}).splits
  return splits ~= nil and splits[1].uid == copy.split.uid
end

-- What keeps a copy from being sent; nothing where it may be.
local function objection(copy, seen)
  if seen.outcome ~= "complete" then return "control" end
  if copy.answer.is_left then return "large" end
  if is_busy(copy.split) then return "busy" end
  copy.to = goes_on(copy) and destination(copy, seen.hash)
  if not copy.to then return "away" end
  copy.body = body_of()
  return not copy.body and "large" or nil
end

local function run(premature, copy)
  local state = state_of(copy.split)
  if premature then
    drop(copy, "ending")
  else
    local done, problem = pcall(comparison.make, copy)
    if not done then ngx.log(ngx.ERR, "a copy could not be compared: ", problem) end
    copy.answer:leave()
    copy.body:leave()
  end
  state.in_flight = state.in_flight - 1
end

-- The client has its answer: ask once more, where that may be. Nothing here waits.
function shadow.follow(seen)
  local copy = seen.copy
  if not copy then return end
  local reason = objection(copy, seen)
  if reason then return drop(copy, reason) end
  copy.kind, copy.exposure, copy.control = seen.kind, seen.exposure, {
    streams = seen.streams, first = seen.to_first, last = seen.to_last, tokens = seen.completion_tokens,
  }
  local state = state_of(copy.split)
  state.in_flight = state.in_flight + 1
  if ngx.timer.at(0, run, copy) then return end
  state.in_flight = state.in_flight - 1
  drop(copy, "ending")
end

return shadow
